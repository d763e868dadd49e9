// SPDX-License-Identifier: Apache-2.0
// @platformatic/kafka: two members of the consumer protocol (KIP-848), and transactions with records and
// offsets, committed and aborted.
// Usage: node platformatic_transactions.mjs BOOTSTRAP

import { Admin, Consumer, FetchIsolationLevels, Producer } from '@platformatic/kafka';
import { check, PARTITIONS, run_steps, wait_for, within } from './support.mjs';

const SOURCE = 'platformatic-in';
const SINK = 'platformatic-out';
const GROUP = 'platformatic-transactions-group';
const COUNT = 400;
const base = { clientId: 'platformatic-transactions-test', bootstrapBrokers: [process.argv[2]], timeout: 10_000,
  retryDelay: 100 };
const admin = new Admin(base);

const messages = (topic, first, count) => Array.from({ length: count }, (_, i) =>
  ({ topic, partition: (first + i) % PARTITIONS, value: Buffer.from(String(first + i)) }));

async function join(options) {
  const member = { got: [], last: new Map(), consumer: new Consumer({ ...base, maxWaitTime: 200, ...options }) };
  member.start = async (topic, how) => {
    member.stream = await member.consumer.consume({ topics: [topic], autocommit: false, ...how });
    member.stream.on('data', (message) => {
      member.got.push(Number(message.value));
      member.last.set(message.partition, message);
    });
    member.stream.on('error', (error) => { throw error; });
  };
  member.stop = async () => {
    await within(20, 'closing the stream', member.stream.close());
    await within(20, 'closing the consumer', member.consumer.close());
  };
  return member;
}

async function consumer_protocol() {
  await admin.createTopics({ topics: [SOURCE, SINK], partitions: PARTITIONS, replicas: 1 });
  const options = { groupId: `${GROUP}-two`, groupProtocol: 'consumer' };
  const members = [await join(options), await join(options)];
  await Promise.all(members.map((member) => member.start(SOURCE, { mode: 'committed', fallbackMode: 'earliest' })));
  const shares = () => members.map(({ consumer }) =>
    (consumer.assignments ?? []).reduce((sum, { partitions }) => sum + partitions.length, 0));
  await wait_for('two members to share', () => shares().every((share) => share === PARTITIONS / 2));
  const listed = (await admin.listGroups({ types: ['consumer'] })).get(options.groupId);
  check(listed?.groupType === 'consumer', `listed as ${JSON.stringify(listed)}`);
  const producer = new Producer(base);
  await producer.send({ acks: -1, messages: messages(SOURCE, 0, COUNT) });
  await wait_for('all records', () => members[0].got.length + members[1].got.length >= COUNT);
  const got = members.flatMap((member) => member.got).sort((a, b) => a - b);
  check(got.length === COUNT && got.every((number, at) => number === at), `${got.length} records of ${COUNT}`);
  await producer.close();
  for (const member of members) await member.stop();
}

async function transactions() {
  // Of the classic protocol: in a group of the other one this client sends its offsets with epoch 0.
  const reader = await join({ groupId: GROUP });
  await reader.start(SOURCE, { mode: 'earliest' });
  await wait_for('all input', () => reader.got.length >= COUNT);
  const producer = new Producer({ ...base, transactionalId: 'platformatic-id', idempotent: true });
  for (const [first, is_commit] of [[0, true], [COUNT, false], [2 * COUNT, true]]) {
    const transaction = await producer.beginTransaction();
    await transaction.addConsumer(reader.consumer);
    await transaction.send({ messages: messages(SINK, first, COUNT) });
    for (const message of reader.last.values()) await transaction.addOffset(message);
    await (is_commit ? transaction.commit() : transaction.abort());
  }
  const asked = [{ topic: SOURCE, partitions: Array.from({ length: PARTITIONS }, (_, i) => i) }];
  await wait_for('the offsets to count', async () => {
    const committed = (await reader.consumer.listCommittedOffsets({ topics: asked })).get(SOURCE);
    return [...reader.last].every(([partition, { offset }]) => committed[partition] === offset + 1n);
  });
  await producer.close();
  await reader.stop();
}

async function see() {
  for (const [name, isolationLevel, wanted] of [['committed', FetchIsolationLevels.READ_COMMITTED, 2 * COUNT],
    ['uncommitted', FetchIsolationLevels.READ_UNCOMMITTED, 3 * COUNT]]) {
    const reader = await join({ groupId: `${GROUP}-${name}`, isolationLevel });
    await reader.start(SINK, { mode: 'earliest' });
    await wait_for(`${wanted} records`, () => reader.got.length >= wanted);
    const different = new Set(reader.got);
    check(reader.got.length === wanted && different.size === wanted, `${name}: ${reader.got.length} records`);
    check(name === 'uncommitted' || !reader.got.some((number) => number >= COUNT && number < 2 * COUNT),
      'aborted records are visible');
    await reader.stop();
  }
  await admin.close();
}

run_steps([
  ['consumer protocol', 60, consumer_protocol],
  ['transactions', 60, transactions],
  ['read committed and uncommitted', 60, see],
]);
