// SPDX-License-Identifier: Apache-2.0
// kafkajs: admin, produce, group consume with commits, rebalance, offsets, refusals.
// Usage: node kafkajs.mjs BOOTSTRAP BROKERS, the number of brokers that the cluster has to show.

import kafkajs from 'kafkajs';
import { among, check, check_same, make_records, PARTITIONS, refused, run_steps, wait_for } from './support.mjs';

const { AssignerProtocol, CompressionTypes, ConfigResourceTypes, Kafka, logLevel, Partitioners } = kafkajs;
const [bootstrap, brokers] = [process.argv[2], Number(process.argv[3])];
const TOPIC = 'kafkajs';
const GROUP = 'kafkajs-group';
const COUNT = 20_000;
const BATCH = 500;
// Each record has its own time, a second after the one before, so that asking by time has one answer.
const FIRST_TIME = Date.now() - (COUNT + 3600) * 1000;

const kafka = new Kafka({
  clientId: 'kafkajs-test',
  brokers: [bootstrap],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, retries: 8 },
});
const admin = kafka.admin();
const sent = make_records(COUNT);
let received = [];

const has_type = (type) => (error) => among(error, (inner) => inner.type === type);

const message_of = (record) => ({
  key: record.key,
  value: record.value,
  headers: record.headers,
  timestamp: String(FIRST_TIME + record.id * 1000),
});

const record_of = ({ partition, message }) => ({
  partition,
  offset: message.offset,
  timestamp: Number(message.timestamp),
  key: message.key,
  value: message.value,
  headers: message.headers,
});

function new_producer(options = {}) {
  return kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...options });
}

function new_consumer(options = {}) {
  return kafka.consumer({ groupId: GROUP, heartbeatInterval: 300, sessionTimeout: 10_000,
    rebalanceTimeout: 10_000, maxWaitTimeInMs: 300, ...options });
}

async function describe_topic(topic) {
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  return topics[0];
}

async function config_of(topic) {
  const { resources } = await admin.describeConfigs({ includeSynonyms: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] });
  return new Map(resources[0].configEntries.map((entry) => [entry.configName, entry.configValue]));
}

async function create_and_describe() {
  await admin.connect();
  const cluster = await admin.describeCluster();
  check(cluster.brokers.length === brokers, `brokers ${JSON.stringify(cluster.brokers)}`);
  check(cluster.brokers.some((broker) => broker.nodeId === cluster.controller),
    `controller ${cluster.controller} is none of the brokers`);

  const topic = { topic: TOPIC, numPartitions: PARTITIONS, replicationFactor: 1,
    configEntries: [{ name: 'retention.ms', value: '864000000' }, { name: 'max.message.bytes', value: '500000' }] };
  check(await admin.createTopics({ topics: [topic] }), 'the topic existed already');
  check(!await admin.createTopics({ topics: [topic] }), 'the same topic was created twice');
  check((await admin.listTopics()).includes(TOPIC), 'the topic is not listed');
  await refused('a config that does not exist', admin.createTopics({ topics: [{ topic: 'kafkajs-odd',
    numPartitions: 1, configEntries: [{ name: 'no.such.config', value: '1' }] }] }), has_type('INVALID_CONFIG'));

  const { partitions } = await describe_topic(TOPIC);
  check(partitions.length === PARTITIONS, `partitions ${JSON.stringify(partitions)}`);
  const nodes = new Set(cluster.brokers.map((broker) => broker.nodeId));
  for (const { partitionId, leader, replicas, isr } of partitions) {
    check(nodes.has(leader) && replicas.includes(leader) && isr.includes(leader),
      `partition ${partitionId}: leader ${leader}, replicas ${replicas}, in sync ${isr}`);
  }
  check(new Set(partitions.map((partition) => partition.leader)).size === Math.min(brokers, PARTITIONS),
    'the leaders are not spread over the brokers');

  const config = await config_of(TOPIC);
  check(config.get('retention.ms') === '864000000' && config.get('max.message.bytes') === '500000',
    `configs ${JSON.stringify([...config])}`);
  await admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: TOPIC,
    configEntries: [{ name: 'retention.ms', value: '900000000' }] }] });
  // This older call replaces the whole set, so what it does not name has its default again.
  await wait_for('the altered configs', async () => {
    const now = await config_of(TOPIC);
    return now.get('retention.ms') === '900000000' && now.get('max.message.bytes') === '1048588';
  });
}

async function produce() {
  const ways = [
    { acks: -1, compression: CompressionTypes.GZIP },
    { acks: 1, compression: CompressionTypes.None },
    { acks: 0, compression: CompressionTypes.GZIP },
    { acks: -1, compression: CompressionTypes.GZIP, idempotent: true },
  ];
  const share = COUNT / ways.length;
  for (const [i, { idempotent, ...options }] of ways.entries()) {
    const producer = new_producer(idempotent ? { idempotent, maxInFlightRequests: 1 } : {});
    await producer.connect();
    const part = sent.slice(i * share, (i + 1) * share);
    for (let at = 0; at < part.length; at += BATCH) {
      const results = await producer.send({ topic: TOPIC, ...options,
        messages: part.slice(at, at + BATCH).map(message_of) });
      check(options.acks === 0 || results.every((result) => result.errorCode === 0),
        `produce ${JSON.stringify(results)}`);
    }
    // Without an answer to wait for, the log end says when the records are there; order needs it too.
    await wait_for('all records of this producer', async () => await log_end(TOPIC) === (i + 1) * share);
    await producer.disconnect();
  }
}

async function log_end(topic) {
  const offsets = await admin.fetchTopicOffsets(topic);
  return offsets.reduce((sum, { high }) => sum + Number(high), 0);
}

async function consume_and_commit() {
  const consumer = new_consumer();
  await consumer.connect();
  await consumer.subscribe({ topics: [TOPIC], fromBeginning: true });
  await consumer.run({ autoCommit: false, eachMessage: async (one) => { received.push(record_of(one)); } });
  await wait_for('all records', () => received.length >= COUNT, 60);
  check_same('consumed', sent, received);
  const times = new Map(sent.map(({ id }) => [id, FIRST_TIME + id * 1000]));
  check(received.every(({ headers, timestamp }) => times.get(Number(headers.id)) === timestamp),
    'timestamps are not those that were sent');

  const next = new Map();
  for (const { partition, offset } of received) next.set(partition, Number(offset) + 1);
  await consumer.commitOffsets([...next].map(([partition, offset]) => ({ topic: TOPIC, partition,
    offset: String(offset), metadata: `up to ${offset}` })));
  const [{ partitions }] = await admin.fetchOffsets({ groupId: GROUP, topics: [TOPIC] });
  check(partitions.length === PARTITIONS, `offsets ${JSON.stringify(partitions)}`);
  for (const { partition, offset, metadata } of partitions) {
    check(Number(offset) === next.get(partition) && metadata === `up to ${offset}`,
      `partition ${partition}: committed ${offset} "${metadata}", not ${next.get(partition)}`);
  }
  const [all] = await admin.fetchOffsets({ groupId: GROUP });
  check(all.topic === TOPIC && all.partitions.length === PARTITIONS, `all offsets ${JSON.stringify(all)}`);

  await describe_group();
  await consumer.disconnect();
}

async function describe_group() {
  const { groups: listed } = await admin.listGroups();
  check(listed.filter(({ groupId, protocolType }) => groupId === GROUP && protocolType === 'consumer').length === 1,
    `groups ${JSON.stringify(listed)}`);
  const { groups: [group] } = await admin.describeGroups([GROUP]);
  check(group.errorCode === 0 && group.state === 'Stable' && group.members.length === 1
    && group.protocol === 'RoundRobinAssigner', `group ${JSON.stringify(group)}`);
  const [member] = group.members;
  check(member.clientId === 'kafkajs-test' && member.clientHost.includes('127.0.0.1'),
    `member ${member.clientId} at ${member.clientHost}`);
  const { assignment } = AssignerProtocol.MemberAssignment.decode(member.memberAssignment);
  check(assignment[TOPIC].length === PARTITIONS, `assignment ${JSON.stringify(assignment)}`);
  await refused('deleting a group that is in use', admin.deleteGroups([GROUP]),
    (error) => error.groups?.[0]?.error?.type === 'NON_EMPTY_GROUP');
}

async function offsets() {
  const ends = await admin.fetchTopicOffsets(TOPIC);
  check(ends.every(({ low }) => low === '0'), `log starts ${JSON.stringify(ends)}`);
  const asked = FIRST_TIME + COUNT / 2 * 1000 - 500;
  for (const { partition, offset } of await admin.fetchTopicOffsetsByTimestamp(TOPIC, asked)) {
    const first = received.filter((record) => record.partition === partition)
      .find((record) => record.timestamp >= asked);
    check(offset === first.offset, `partition ${partition}: ${offset} at the asked time, not ${first.offset}`);
  }
}

/** A member that notes its assignment and commits by itself. */
class Member {
  constructor(group) {
    this.assigned = 0;
    this.got = [];
    this.consumer = new_consumer({ groupId: group });
    this.consumer.on(this.consumer.events.GROUP_JOIN, ({ payload }) => {
      this.assigned = payload.memberAssignment[TOPIC]?.length ?? 0;
    });
    this.consumer.on(this.consumer.events.REBALANCING, () => { this.assigned = 0; });
  }

  async start() {
    await this.consumer.connect();
    await this.consumer.subscribe({ topics: [TOPIC], fromBeginning: false });
    await this.consumer.run({ eachMessage: async (one) => { this.got.push(record_of(one)); } });
    return this;
  }
}

async function rebalance() {
  const first = await new Member(GROUP).start();
  await wait_for('the first member to own all', () => first.assigned === PARTITIONS);
  const second = await new Member(GROUP).start();
  await wait_for('two members to share', () => first.assigned === 2 && second.assigned === 2);
  const { groups: [group] } = await admin.describeGroups([GROUP]);
  check(group.state === 'Stable' && group.members.length === 2, `group of two: ${JSON.stringify(group)}`);

  const more = make_records(1000, COUNT);
  const producer = new_producer();
  await producer.connect();
  await producer.send({ topic: TOPIC, compression: CompressionTypes.GZIP, messages: more.map(message_of) });
  await wait_for('all records', () => first.got.length + second.got.length >= more.length);
  check(first.got.length && second.got.length, 'one member got everything');
  check_same('shared', more, [...first.got, ...second.got]);

  await second.consumer.disconnect();
  await wait_for('the rest to move back', () => first.assigned === PARTITIONS);
  const last = make_records(100, COUNT + 1000);
  first.got = [];
  await producer.send({ topic: TOPIC, messages: last.map(message_of) });
  await wait_for('the last records', () => first.got.length >= last.length);
  check_same('after the second has left', last, first.got);
  await producer.disconnect();
  await first.consumer.disconnect();
  const total = COUNT + more.length + last.length;
  const [{ partitions }] = await admin.fetchOffsets({ groupId: GROUP, topics: [TOPIC] });
  const committed = partitions.reduce((sum, { offset }) => sum + Number(offset), 0);
  check(committed === total, `committed ${committed} of ${total}`);
}

/** A producer that tries once, takes topics as they are, and counts its produce requests. */
async function strict_producer() {
  const producer = new_producer({ allowAutoTopicCreation: false, retry: { retries: 0 } });
  producer.requests = 0;
  producer.on(producer.events.REQUEST, ({ payload }) => {
    if (payload.apiName === 'Produce') producer.requests++;
  });
  await producer.connect();
  return producer;
}

async function refuse_topics() {
  const unknown = has_type('UNKNOWN_TOPIC_OR_PARTITION');
  const producer = await strict_producer();
  await refused('producing to a topic that was never made',
    producer.send({ topic: 'kafkajs-never', messages: [{ value: 'v' }] }), unknown);
  check(!(await admin.listTopics()).includes('kafkajs-never'), 'the topic was created all the same');
  await producer.disconnect();

  // What a producer knows of a topic may be out of date; then the broker is the one that has to refuse.
  for (const left of [0, 1]) {
    const topic = `kafkajs-left-${left}`;
    const messages = [{ value: 'v', partition: PARTITIONS - 1 }];
    await admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS }] });
    const late = await strict_producer();
    await late.send({ topic, messages });
    await delete_topic(topic);
    if (left) await admin.createTopics({ topics: [{ topic, numPartitions: left }] });
    await refused(`producing to a partition of which ${left} are left`, late.send({ topic, messages }), unknown);
    check(late.requests === 2, `${late.requests} produce requests`);
    await late.disconnect();
    if (!left) continue;
    check(await log_end(topic) === 0, 'a refused record is in the log');
    await delete_topic(topic);
  }
}

async function refuse_large_batch() {
  const producer = await strict_producer();
  const before = await log_end(TOPIC);
  await refused('a batch above max.message.bytes',
    producer.send({ topic: TOPIC, messages: [{ value: Buffer.alloc(2_000_000, 'x') }] }),
    has_type('MESSAGE_TOO_LARGE'));
  await producer.send({ topic: TOPIC, messages: [{ value: Buffer.alloc(900_000, 'x') }] });
  check(await log_end(TOPIC) === before + 1, 'not exactly the smaller record is in the log');
  await producer.disconnect();
}

async function delete_topic(topic) {
  await admin.deleteTopics({ topics: [topic] });
  await wait_for(`${topic} to be gone`, async () => !(await admin.listTopics()).includes(topic));
}

async function change_and_delete() {
  await admin.deleteTopicRecords({ topic: TOPIC, partitions: [{ partition: 0, offset: '100' }] });
  const [start] = (await admin.fetchTopicOffsets(TOPIC)).filter(({ partition }) => partition === 0);
  check(start.low === '100', `log start ${start.low} after deleting records below 100`);
  await admin.createPartitions({ topicPartitions: [{ topic: TOPIC, count: PARTITIONS + 2 }] });
  await wait_for('two more partitions', async () =>
    (await describe_topic(TOPIC)).partitions.length === PARTITIONS + 2);
  await refused('fewer partitions', admin.createPartitions({ topicPartitions: [{ topic: TOPIC, count: 2 }] }),
    has_type('INVALID_PARTITIONS'));

  await admin.deleteGroups([GROUP]);
  check(!(await admin.listGroups()).groups.some(({ groupId }) => groupId === GROUP), 'the group is still there');
  await delete_topic(TOPIC);
  await admin.disconnect();
}

run_steps([
  ['create and describe', 30, create_and_describe],
  ['produce', 60, produce],
  ['consume and commit', 90, consume_and_commit],
  ['offsets', 30, offsets],
  ['rebalance', 90, rebalance],
  ['refused topics', 60, refuse_topics],
  ['refused batch', 30, refuse_large_batch],
  ['change and delete', 60, change_and_delete],
]);
