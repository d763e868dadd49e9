// SPDX-License-Identifier: Apache-2.0
// @platformatic/kafka: admin, produce with every codec, group consume with commits, rebalance, offsets,
// refusals. It speaks newer versions of the protocol than kafkajs: flexible ones, and topics by id.
// Usage: node platformatic.mjs BOOTSTRAP BROKERS, the number of brokers that the cluster has to show.

import { Admin, compressionsAlgorithms, Consumer, Producer } from '@platformatic/kafka';
import { among, check, check_same, make_records, PARTITIONS, refused, run_steps, sleep, wait_for,
  within } from './support.mjs';

const [bootstrap, brokers] = [process.argv[2], Number(process.argv[3])];
const TOPIC = 'platformatic';
const GROUP = 'platformatic-group';
const TOPIC_RESOURCE = 2;
const SET = 0;
const BATCH = 500;
const PER_WAY = 2000;
const MAX_WAIT_MS = 300;
const LATEST = -1n;

const base = { clientId: 'platformatic-test', bootstrapBrokers: [bootstrap], timeout: 10_000, retryDelay: 100 };
const admin = new Admin(base);
// zstd comes with Node.js itself, from 22.15 on.
const codecs = Object.keys(compressionsAlgorithms).filter((name) => compressionsAlgorithms[name].available);
const ways = [
  ...codecs.map((compression) => ({ compression, acks: -1 })),
  { compression: 'none', acks: 0 },
  { compression: 'lz4', acks: 1 },
  { compression: 'gzip', idempotent: true },
];
const COUNT = ways.length * PER_WAY;
// Each record has its own time, a second after the one before, so that asking by time has one answer.
const FIRST_TIME = Date.now() - (COUNT + 3600) * 1000;
const sent = make_records(COUNT);
let received = [];

const has_id = (id) => (error) => among(error, (inner) => inner.apiId === id);

const message_of = (topic) => (record) => ({
  topic,
  key: record.key ?? undefined,
  value: record.value ?? undefined,
  headers: new Map(Object.entries(record.headers).map(([name, value]) => [Buffer.from(name), value])),
  timestamp: BigInt(FIRST_TIME + record.id * 1000),
});

const record_of = (message) => ({
  partition: message.partition,
  offset: message.offset,
  timestamp: Number(message.timestamp),
  key: message.key ?? null,
  value: message.value ?? null,
  headers: Object.fromEntries([...message.headers].map(([name, value]) => [name.toString(), value])),
});

async function config_of(topic) {
  const [{ configs }] = await admin.describeConfigs({
    resources: [{ resourceType: TOPIC_RESOURCE, resourceName: topic, configurationKeys: null }] });
  return new Map(configs.map(({ name, value }) => [name, value]));
}

async function topic_metadata(topic) {
  const { topics } = await admin.metadata({ topics: [topic], forceUpdate: true });
  return topics.get(topic);
}

/** Sum of the log ends of all partitions; each partition is asked at its own leader. */
async function log_ends(topic, partitions = PARTITIONS, timestamp = LATEST) {
  const asked = Array.from({ length: partitions }, (_, partitionIndex) => ({ partitionIndex, timestamp }));
  const [found] = await admin.listOffsets({ topics: [{ name: topic, partitions: asked }] });
  return new Map(found.partitions.map(({ partitionIndex, offset }) => [partitionIndex, Number(offset)]));
}

const sum = (map) => [...map.values()].reduce((total, value) => total + Number(value), 0);

async function create_and_describe() {
  const configs = [{ name: 'retention.ms', value: '864000000' }, { name: 'cleanup.policy', value: 'delete' }];
  const [made] = await admin.createTopics({ topics: [TOPIC], partitions: PARTITIONS, replicas: 1, configs });
  check(made.name === TOPIC && made.partitions === PARTITIONS && made.replicas === 1,
    `created ${JSON.stringify(made)}`);
  await refused('the same topic again', admin.createTopics({ topics: [TOPIC], partitions: 1, replicas: 1 }),
    has_id('TOPIC_ALREADY_EXISTS'));
  await refused('a config that does not exist', admin.createTopics({ topics: ['platformatic-odd'],
    partitions: 1, replicas: 1, configs: [{ name: 'no.such.config', value: '1' }] }), has_id('INVALID_CONFIG'));
  check((await admin.listTopics()).includes(TOPIC), 'the topic is not listed');

  const cluster = await admin.metadata({ topics: [TOPIC], forceUpdate: true });
  check(cluster.brokers.size === brokers, `brokers ${JSON.stringify([...cluster.brokers])}`);
  const { id, partitions } = cluster.topics.get(TOPIC);
  check(id === made.id && !/^[0-]*$/.test(id), `topic id ${id}, ${made.id} when it was created`);
  check(partitions.length === PARTITIONS, `partitions ${JSON.stringify(partitions)}`);
  for (const [index, { leader, replicas, isr }] of partitions.entries()) {
    check(cluster.brokers.has(leader) && replicas.includes(leader) && isr.includes(leader),
      `partition ${index}: leader ${leader}, replicas ${replicas}, in sync ${isr}`);
  }

  check((await config_of(TOPIC)).get('retention.ms') === '864000000', 'the config is not what was set');
  await admin.incrementalAlterConfigs({ resources: [{ resourceType: TOPIC_RESOURCE, resourceName: TOPIC,
    configs: [{ name: 'max.message.bytes', configOperation: SET, value: '500000' }] }] });
  await wait_for('the altered config beside the old one', async () => {
    const now = await config_of(TOPIC);
    return now.get('max.message.bytes') === '500000' && now.get('retention.ms') === '864000000';
  });
}

async function produce() {
  let end = 0;
  for (const [i, { idempotent, compression, ...options }] of ways.entries()) {
    const producer = new Producer({ ...base, ...(idempotent ? { idempotent } : {}) });
    const part = sent.slice(i * PER_WAY, (i + 1) * PER_WAY);
    for (let at = 0; at < part.length; at += BATCH) {
      const { offsets, unwritableNodes } = await producer.send({ ...options, compression,
        messages: part.slice(at, at + BATCH).map(message_of(TOPIC)) });
      check(options.acks === 0 ? !unwritableNodes.length : offsets.length === PARTITIONS,
        `${compression}: ${JSON.stringify(unwritableNodes)}, ${offsets?.length} partitions written`);
    }
    end += part.length;
    // Without an answer to wait for, the log end says when the records are there; order needs it too.
    await wait_for(`the records of ${compression}, acks ${options.acks}`,
      async () => sum(await log_ends(TOPIC)) === end);
    await producer.close();
  }
}

/** A group member that notes its assignment and what it receives. */
class Member {
  constructor(options = {}) {
    this.assigned = 0;
    this.got = [];
    this.last = new Map();
    this.consumer = new Consumer({ ...base, groupId: GROUP, sessionTimeout: 10_000, rebalanceTimeout: 10_000,
      heartbeatInterval: 300, maxWaitTime: MAX_WAIT_MS, ...options });
    this.consumer.on('consumer:group:join', ({ assignments }) => {
      this.assigned = assignments?.find(({ topic }) => topic === TOPIC)?.partitions.length ?? 0;
    });
    this.consumer.on('consumer:group:rebalance', () => { this.assigned = 0; });
  }

  async start(options) {
    this.stream = await this.consumer.consume({ topics: [TOPIC], ...options });
    this.stream.on('data', (message) => {
      this.got.push(record_of(message));
      this.last.set(message.partition, message);
    });
    this.stream.on('error', (error) => { throw error; });
    return this;
  }

  /** Leaves the group; its stream has to end first. */
  async stop() {
    await within(20, 'closing the stream', this.stream.close());
    await within(20, 'closing the consumer', this.consumer.close());
  }
}

async function consume_and_commit() {
  const member = await new Member().start({ mode: 'earliest', autocommit: false });
  await wait_for('all records', () => member.got.length >= COUNT, 60);
  received = member.got;
  check_same('consumed', sent, received);
  check(received.every(({ headers, timestamp }) => timestamp === FIRST_TIME + Number(headers.id) * 1000),
    'timestamps are not those that were sent');
  check(member.assigned === PARTITIONS, `${member.assigned} partitions assigned`);

  for (const message of member.last.values()) await message.commit();
  const ends = await log_ends(TOPIC);
  const asked = [{ topic: TOPIC, partitions: [...ends.keys()] }];
  const committed = (await member.consumer.listCommittedOffsets({ topics: asked })).get(TOPIC);
  check([...ends].every(([partition, end]) => Number(committed[partition]) === end),
    `committed ${committed}, log ends ${JSON.stringify([...ends])}`);
  const lag = (await member.consumer.getLag({ topics: [TOPIC] })).get(TOPIC);
  check(lag.every((records) => records === 0n), `lag ${lag}`);
  await describe_group(member);
  await member.stop();
}

async function describe_group(member) {
  const listed = (await admin.listGroups()).get(GROUP);
  check(listed?.protocolType === 'consumer' && listed.groupType === 'classic' && listed.state === 'STABLE',
    `listed as ${JSON.stringify(listed)}`);
  const group = (await admin.describeGroups({ groups: [GROUP] })).get(GROUP);
  check(group.state === 'STABLE' && group.members.size === 1, `group ${JSON.stringify(group)}`);
  const [described] = group.members.values();
  check(described.id === member.consumer.memberId && described.clientId === 'platformatic-test'
    && described.clientHost.includes('127.0.0.1'), `member ${JSON.stringify(described)}`);
  check(described.assignments.get(TOPIC).partitions.length === PARTITIONS, 'not all partitions assigned');
  const [coordinator] = await admin.findCoordinator({ keyType: 0, keys: [GROUP] });
  const { brokers: known } = await admin.metadata({});
  check(known.get(coordinator.nodeId)?.port === coordinator.port, `coordinator ${JSON.stringify(coordinator)}`);
  await refused('deleting a group that is in use', admin.deleteGroups({ groups: [GROUP] }),
    has_id('NON_EMPTY_GROUP'));
}

async function committed_offsets() {
  const [{ topics }] = await admin.listConsumerGroupOffsets({ groups: [GROUP] });
  check(topics.length === 1 && topics[0].name === TOPIC, `offsets ${JSON.stringify(topics.map((t) => t.name))}`);
  return new Map(topics[0].partitions.map(({ partitionIndex, committedOffset }) =>
    [partitionIndex, Number(committedOffset)]));
}

async function offsets() {
  const asked = FIRST_TIME + COUNT / 2 * 1000 - 500;
  for (const [partition, offset] of await log_ends(TOPIC, PARTITIONS, BigInt(asked))) {
    const first = received.find((record) => record.partition === partition && record.timestamp >= asked);
    check(offset === Number(first.offset), `partition ${partition}: ${offset} at that time, not ${first.offset}`);
  }
  const ends = await log_ends(TOPIC);
  const to = (offset_of) => admin.alterConsumerGroupOffsets({ groupId: GROUP, topics: [{ name: TOPIC,
    partitionOffsets: [...ends.keys()].map((partition) => ({ partition, offset: offset_of(partition) })) }] });
  await to(() => 3n);
  check([...(await committed_offsets()).values()].every((offset) => offset === 3), 'offsets were not altered');
  await admin.deleteConsumerGroupOffsets({ groupId: GROUP, topics: [{ name: TOPIC, partitionIndexes: [0] }] });
  const left = await committed_offsets();
  check(!left.has(0) && left.size === PARTITIONS - 1, `left ${JSON.stringify([...left])}`);
  await to((partition) => BigInt(ends.get(partition)));
}

async function rebalance() {
  // A committed offset that is not found would bring back all that was consumed before. (The fallback
  // mode "fail" would say so itself, but this client then also fails on partitions of other members.)
  const options = { mode: 'committed', fallbackMode: 'earliest', autocommit: true };
  const first = await new Member().start(options);
  await wait_for('the first member to own all', () => first.assigned === PARTITIONS);
  const second = await new Member().start(options);
  await wait_for('two members to share', () => first.assigned === 2 && second.assigned === 2);
  // What a fetch brings that was under way when its partition moved, this client still hands out. Wait for
  // such fetches to end, or some of the records that follow would rightly come twice.
  await sleep(2 * MAX_WAIT_MS);
  const more = make_records(1000, COUNT);
  const producer = new Producer(base);
  await producer.send({ acks: -1, compression: 'snappy', messages: more.map(message_of(TOPIC)) });
  await wait_for('all records', () => first.got.length + second.got.length >= more.length);
  check(first.got.length && second.got.length, 'one member got everything');
  check_same('shared', more, [...first.got, ...second.got]);
  await second.stop();
  await wait_for('the rest to move back', () => first.assigned === PARTITIONS);
  await sleep(2 * MAX_WAIT_MS); // as above: this rebalance had fetches under way too
  first.got = [];
  const last = make_records(100, COUNT + 1000);
  await producer.send({ acks: -1, messages: last.map(message_of(TOPIC)) });
  await wait_for('the last records', () => first.got.length >= last.length);
  check_same('after the second has left', last, first.got);
  await first.stop();
  await producer.close();
  const total = COUNT + more.length + last.length;
  check(sum(await committed_offsets()) === total, `committed ${sum(await committed_offsets())} of ${total}`);
}

/** A producer that tries once and keeps what it knows of topics. */
const strict_producer = () => new Producer({ ...base, retries: 0, repeatOnStaleMetadata: false,
  metadataMaxAge: 600_000, autocreateTopics: false });

const one = (topic, partition, value = 'v') => ({ acks: -1,
  messages: [{ topic, partition, value: Buffer.from(value) }] });

async function refuse_topics() {
  const unknown = has_id('UNKNOWN_TOPIC_OR_PARTITION');
  const producer = strict_producer();
  // This client puts UNKNOWN_TOPIC_OR_PARTITION of a Metadata response into words of its own.
  await refused('producing to a topic that was never made', producer.send(one('platformatic-never', 0)),
    (error) => error.code === 'PLT_KFK_USER' && error.message === 'Unknown topic platformatic-never.');
  check(!(await admin.listTopics()).includes('platformatic-never'), 'the topic was created all the same');
  await producer.close();

  // What a producer knows of a topic may be out of date; then the broker is the one that has to refuse.
  for (const left of [0, 1]) {
    const topic = `platformatic-left-${left}`;
    await admin.createTopics({ topics: [topic], partitions: PARTITIONS, replicas: 1 });
    const late = strict_producer();
    // It does not try again by itself, and Kafka's leaders may take a moment after the creation.
    await wait_for('the first record', () => late.send(one(topic, PARTITIONS - 1)));
    await delete_topic(topic);
    if (left) await admin.createTopics({ topics: [topic], partitions: left, replicas: 1 });
    await refused(`producing to a partition of which ${left} are left`, late.send(one(topic, PARTITIONS - 1)),
      unknown);
    await late.close();
    if (!left) continue;
    await topic_metadata(topic);
    check(sum(await log_ends(topic, left)) === 0, 'a refused record is in the log');
    await delete_topic(topic);
  }
}

async function refuse_large_batch() {
  const producer = strict_producer();
  const before = sum(await log_ends(TOPIC));
  await refused('a batch above max.message.bytes', producer.send(one(TOPIC, 0, 'x'.repeat(600_000))),
    has_id('MESSAGE_TOO_LARGE'));
  await producer.send(one(TOPIC, 0, 'x'.repeat(400_000)));
  check(sum(await log_ends(TOPIC)) === before + 1, 'not exactly the smaller record is in the log');
  await producer.close();
}

async function delete_topic(topic) {
  await admin.deleteTopics({ topics: [topic] });
  await wait_for(`${topic} to be gone`, async () => !(await admin.listTopics()).includes(topic));
}

async function change_and_delete() {
  const [{ partitions: [cut] }] = await admin.deleteRecords({ topics: [{ name: TOPIC,
    partitions: [{ partition: 0, offset: 100n }] }] });
  check(cut.lowWatermark === 100n, `log start ${cut.lowWatermark} after deleting records below 100`);
  await admin.createPartitions({ topics: [{ name: TOPIC, count: PARTITIONS + 2, assignments: null }] });
  await wait_for('two more partitions', async () =>
    (await topic_metadata(TOPIC)).partitionsCount === PARTITIONS + 2);
  const asked = Array.from({ length: PARTITIONS + 2 }, (_, i) => i);
  await wait_for('the log folders of all partitions', async () => {
    const dirs = await admin.describeLogDirs({ topics: [{ name: TOPIC, partitions: asked }] });
    const logs = dirs.flatMap(({ results }) => results).flatMap(({ topics }) => topics)
      .flatMap(({ partitions }) => partitions);
    return new Set(logs.map(({ partitionIndex }) => partitionIndex)).size === PARTITIONS + 2
      && logs.some(({ partitionSize }) => partitionSize > 0n);
  });

  await admin.deleteGroups({ groups: [GROUP] });
  check(!(await admin.listGroups()).has(GROUP), 'the group is still there');
  await delete_topic(TOPIC);
  await admin.close();
}

run_steps([
  ['create and describe', 30, create_and_describe],
  [`produce (${codecs.join(' ')})`, 60, produce],
  ['consume and commit', 90, consume_and_commit],
  ['offsets', 30, offsets],
  ['rebalance', 90, rebalance],
  ['refused topics', 60, refuse_topics],
  ['refused batch', 30, refuse_large_batch],
  ['change and delete', 60, change_and_delete],
]);
