// SPDX-License-Identifier: Apache-2.0
// kafkajs: transactions with records and offsets, committed and aborted, and a producer that is fenced.
// Usage: node kafkajs_transactions.mjs BOOTSTRAP

import kafkajs from 'kafkajs';
import { check, make_records, PARTITIONS, refused, run_steps, wait_for } from './support.mjs';

const { Kafka, logLevel, Partitioners } = kafkajs;
const TOPIC = 'kafkajs-transactions';
const GROUP = 'kafkajs-transactions-group';
const COUNT = 500;

const kafka = new Kafka({
  clientId: 'kafkajs-transactions-test',
  brokers: [process.argv[2]],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, retries: 8 },
});
const admin = kafka.admin();
const producer = new_producer();
let visible = [];

function new_producer() {
  return kafka.producer({ transactionalId: 'kafkajs-id', idempotent: true, maxInFlightRequests: 1,
    createPartitioner: Partitioners.DefaultPartitioner });
}

/** @count records in a transaction, with an offset of each partition; not ended. */
async function fill(first_id, count, offset) {
  const records = make_records(count, first_id);
  const transaction = await producer.transaction();
  await transaction.send({ topic: TOPIC, messages: records.map(({ key, value, headers }) => ({ key, value, headers })) });
  await transaction.sendOffsets({ consumerGroupId: GROUP, topics: [{ topic: TOPIC,
    partitions: Array.from({ length: PARTITIONS }, (_, partition) => ({ partition, offset: String(offset) })) }] });
  return { transaction, ids: records.map(({ id }) => id) };
}

async function committed_offsets() {
  const [{ partitions }] = await admin.fetchOffsets({ groupId: GROUP, topics: [TOPIC] });
  return new Set(partitions.map(({ offset }) => Number(offset)));
}

/** Ids that a consumer of this isolation sees; all that is before @mark, which comes last to each partition. */
async function read(group, readUncommitted, mark) {
  const got = [];
  const marks = new Set();
  const consumer = kafka.consumer({ groupId: group, readUncommitted, maxWaitTimeInMs: 200 });
  await consumer.connect();
  await consumer.subscribe({ topics: [TOPIC], fromBeginning: true });
  await consumer.run({ eachMessage: async ({ partition, message }) => {
    if (message.key?.toString() === mark) marks.add(partition);
    else got.push(Number(message.headers.id));
  } });
  await wait_for('the last record of each partition', () => marks.size === PARTITIONS);
  await consumer.disconnect();
  return got.sort((a, b) => a - b);
}

async function commit() {
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: TOPIC, numPartitions: PARTITIONS }] });
  await producer.connect();
  const { transaction, ids } = await fill(0, COUNT, 7);
  check(!(await committed_offsets()).has(7), 'offsets count before the end of their transaction');
  await transaction.commit();
  await wait_for('the offsets to count', async () => {
    const offsets = await committed_offsets();
    return offsets.size === 1 && offsets.has(7);
  });
  visible = ids;
}

async function abort() {
  const { transaction } = await fill(COUNT, COUNT, 9);
  await transaction.abort();
  const offsets = await committed_offsets();
  check(offsets.size === 1 && offsets.has(7), `offsets ${[...offsets]} after an abort`);
  const next = await fill(2 * COUNT, COUNT, 11);
  await next.transaction.commit();
  visible.push(...next.ids);
}

async function fence() {
  const { transaction } = await fill(3 * COUNT, COUNT, 13);
  const second = new_producer();
  await second.connect();
  // Its first transaction asks for the id, which ends the open one of the first producer.
  const other = await second.transaction();
  await refused('a send of a fenced producer', transaction.send({ topic: TOPIC, messages: [{ value: 'v' }] }),
    (error) => /fenced|epoch|older|newer/i.test(`${error.type} ${error.message}`));
  await other.send({ topic: TOPIC, messages: Array.from({ length: PARTITIONS }, (_, partition) =>
    ({ partition, key: 'mark', value: 'end' })) });
  await other.commit();
  await second.disconnect();
}

async function see() {
  const got = await read(`${GROUP}-committed`, false, 'mark');
  check(got.length === 2 * COUNT && got.every((id, at) => id === visible[at]),
    `${got.length} records are visible, ${new Set(got).size} different ones`);
  const all = await read(`${GROUP}-uncommitted`, true, 'mark');
  check(all.length === 4 * COUNT && all.every((id, at) => id === at), `${all.length} records with those of aborts`);
  const offsets = await committed_offsets();
  check(offsets.size === 1 && offsets.has(11), `offsets ${[...offsets]} in the end`);
  await producer.disconnect();
  await admin.disconnect();
}

run_steps([
  ['commit', 30, commit],
  ['abort', 30, abort],
  ['fence', 30, fence],
  ['read committed and uncommitted', 60, see],
]);
