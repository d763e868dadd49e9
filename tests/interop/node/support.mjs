// SPDX-License-Identifier: Apache-2.0
// What the scripts of both clients share: real records to send, comparing what comes back, and steps
// that end, well or badly, within a stated time.

import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

export const PARTITIONS = 4;

export class Failed extends Error {}

export function check(condition, text) {
  if (!condition) throw new Failed(text);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Settles as @promise does, but fails after @seconds. */
export function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Failed(`${what}: no end after ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Asks @probe until it gives something true. What it throws counts as "not yet" until the end. */
export async function wait_for(what, probe, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  let last = '';
  while (Date.now() < end) {
    try {
      const value = await probe();
      if (value) return value;
    } catch (error) {
      last = `: ${explain(error)}`;
    }
    await sleep(50);
  }
  throw new Failed(`timed out after ${seconds} s waiting for ${what}${last}`);
}

/** An error with all that caused it, in one line. */
export function explain(error) {
  const inner = [...(error.errors ?? []), ...(error.cause ? [error.cause] : [])].map(explain);
  const text = `${error.name ?? 'Error'}: ${error.message ?? error}`;
  return inner.length ? `${text} (${inner.join('; ')})` : text;
}

/** Checks that @promise is refused, and that @is_right holds for the error. */
export async function refused(what, promise, is_right) {
  let error;
  try {
    await promise;
  } catch (caught) {
    error = caught;
  }
  check(error, `${what} was not refused`);
  check(is_right(error), `${what} was refused with another error: ${explain(error)}`);
}

/** True if @error, or one of those it carries or was caused by, satisfies @wanted. */
export function among(error, wanted) {
  return wanted(error) || [...(error.errors ?? []), ...(error.cause ? [error.cause] : [])]
    .some((inner) => among(inner, wanted));
}

function licence_words() {
  const folder = '/usr/share/common-licenses';
  const words = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile())
    .map((entry) => entry.name).sort()
    .flatMap((name) => readFileSync(`${folder}/${name}`, 'utf8').split(/\s+/).filter(Boolean));
  check(words.length > 10_000, `no text found under ${folder}`);
  return words;
}

/**
 * @count CSV lines of the system's own documents as records {id, key, value, headers}, all of it bytes.
 * Some have no key, some no value, some bytes that are no text, some an empty header.
 */
export function make_records(count, first_id = 0) {
  const words = licence_words();
  const records = [];
  for (let id = first_id; id < first_id + count; id++) {
    const at = (id * 7919) % (words.length - 8);
    let value = Buffer.from(`${id},"${words.slice(at, at + 7).join(' ')}",grün ✓`);
    if (id % 97 === 5) value = null;
    if (id % 89 === 7) value = Buffer.from(Array.from({ length: 256 }, (_, i) => (i + id) & 0xff));
    records.push({
      id,
      key: id % 50 === 3 ? null : Buffer.from(`user-${id % 101}`),
      value,
      headers: { id: Buffer.from(String(id)), 'Größe': Buffer.from([0, 0xff, id & 0xff]),
        empty: Buffer.alloc(0) },
    });
  }
  return records;
}

const text_of = (bytes) => (bytes === null || bytes === undefined ? null : bytes.toString('hex'));

/** Key, value and headers as one string; the same for what was sent and what was received. */
export function fingerprint({ key, value, headers }) {
  const pairs = Object.entries(headers).map(([name, bytes]) => [name, text_of(bytes)]).sort();
  return JSON.stringify([text_of(key), text_of(value), pairs]);
}

/**
 * Checks that @got is @sent: each record once and unchanged, in the order of sending within a key, and
 * a key's records in one partition. @got: [{partition, offset, key, value, headers}] in order of arrival.
 */
export function check_same(what, sent, got) {
  const wanted = new Map(sent.map((record) => [record.id, record]));
  check(wanted.size === sent.length, `${what}: the input repeats itself`);
  const homes = new Map();
  const last_ids = new Map();
  const next_offsets = new Map();
  for (const record of got) {
    const id = Number(record.headers.id?.toString());
    const original = wanted.get(id);
    check(original, `${what}: record ${id} came twice or was never sent`);
    wanted.delete(id);
    check(fingerprint(original) === fingerprint(record),
      `${what}: record ${id} was changed\nsent ${fingerprint(original)}\ngot  ${fingerprint(record)}`);
    const offset = Number(record.offset);
    check(offset >= (next_offsets.get(record.partition) ?? 0),
      `${what}: offset ${offset} of partition ${record.partition} came late`);
    next_offsets.set(record.partition, offset + 1);
    if (original.key === null) continue;
    const key = original.key.toString();
    check((homes.get(key) ?? record.partition) === record.partition, `${what}: ${key} has two homes`);
    check(id > (last_ids.get(key) ?? -1), `${what}: ${key}: record ${id} is out of order`);
    homes.set(key, record.partition);
    last_ids.set(key, id);
  }
  check(wanted.size === 0, `${what}: ${wanted.size} of ${sent.length} records are missing`);
  check(next_offsets.size === PARTITIONS,
    `${what}: only partitions ${[...next_offsets.keys()].sort()} have records`);
}

/**
 * Runs @steps, [name, seconds, function] each, in order. The first that fails ends the process with a line
 * on standard error and status 1; what a client still has open or scheduled cannot keep it alive.
 */
export async function run_steps(steps) {
  const script = basename(process.argv[1], '.mjs');
  let current = 'start';
  const fail = (error) => {
    console.error(`FAIL ${script}: ${current}: ${error instanceof Failed ? error.message : explain(error)}`);
    if (!(error instanceof Failed)) console.error(error.stack);
    process.exit(1);
  };
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);
  for (const [name, seconds, step] of steps) {
    current = name;
    const began = Date.now();
    try {
      await within(seconds, name, step());
    } catch (error) {
      fail(error);
    }
    console.log(`  ${script}: ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  }
  process.exit(0);
}
