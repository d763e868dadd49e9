// SPDX-License-Identifier: Apache-2.0
// What the Java scenarios share: settings, waiting, a counting producer and a consumer that notes what it got.

import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.*;

final class Support {
    static String bootstrap;

    private Support() {
    }

    interface Scenario {
        void run() throws Exception;
    }

    /** Ends the program with the scenario, whatever threads are left. */
    static void main(String[] args, Scenario scenario) {
        bootstrap = args[0];
        int status = 0;
        try {
            scenario.run();
        } catch (Throwable e) {
            e.printStackTrace();
            status = 1;
        }
        System.out.flush();
        Runtime.getRuntime().halt(status);
    }

    static void check(boolean condition, String text) {
        if (!condition)
            throw new AssertionError(text);
    }

    static void waitFor(String what, int seconds, Callable<Boolean> probe) throws Exception {
        long deadline = System.nanoTime() + seconds * 1_000_000_000L;
        while (!probe.call()) {
            check(System.nanoTime() < deadline, "timed out after " + seconds + " s waiting for " + what);
            Thread.sleep(20);
        }
    }

    static Map<String, Object> settings(Object... pairs) {
        Map<String, Object> found = new HashMap<>();
        found.put("bootstrap.servers", bootstrap);
        for (int i = 0; i < pairs.length; i += 2)
            found.put((String) pairs[i], pairs[i + 1]);
        return found;
    }

    static void createTopic(String name, int partitions) throws Exception {
        try (Admin admin = Admin.create(settings())) {
            admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1))).all().get();
        }
    }

    static KafkaProducer<String, String> producer(Object... pairs) {
        return new KafkaProducer<>(settings(pairs), new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(Object... pairs) {
        Map<String, Object> all = settings("auto.offset.reset", "earliest", "metadata.max.age.ms", 1000);
        all.putAll(settings(pairs));
        return new KafkaConsumer<>(all, new StringDeserializer(), new StringDeserializer());
    }

    /** Every record of a topic, as a consumer without a group sees it up to the end that it is told. */
    static List<ConsumerRecord<String, String>> readAll(String topic, String isolation) {
        List<ConsumerRecord<String, String>> found = new ArrayList<>();
        try (KafkaConsumer<String, String> c = consumer("isolation.level", isolation)) {
            List<TopicPartition> parts = new ArrayList<>();
            for (PartitionInfo p : c.partitionsFor(topic))
                parts.add(new TopicPartition(topic, p.partition()));
            c.assign(parts);
            c.seekToBeginning(parts);
            Map<TopicPartition, Long> ends = c.endOffsets(parts);
            long deadline = System.nanoTime() + 30_000_000_000L;
            while (parts.stream().anyMatch(p -> c.position(p) < ends.get(p))) {
                check(System.nanoTime() < deadline, "cannot read to the end " + ends + " of " + topic);
                c.poll(Duration.ofMillis(100)).forEach(found::add);
            }
        }
        return found;
    }

    /** Sends numbers to topics in turn until it is ended, and knows how many the broker took. */
    static final class Feed extends Thread {
        final List<String> topics = new CopyOnWriteArrayList<>();
        final AtomicLong sent = new AtomicLong();
        final AtomicReference<Exception> failure = new AtomicReference<>();
        private volatile boolean ended;

        Feed(String... topics) {
            this.topics.addAll(List.of(topics));
            start();
        }

        @Override
        public void run() {
            try (KafkaProducer<String, String> p = producer("linger.ms", 5)) {
                for (long i = 0; !ended; i++) {
                    String topic = topics.get((int) (i % topics.size()));
                    p.send(new ProducerRecord<>(topic, "k" + i, "v" + i), (meta, error) -> {
                        if (error == null)
                            sent.incrementAndGet();
                        else
                            failure.set(error);
                    });
                    if (i % 4 == 0)
                        Thread.sleep(1);
                }
            } catch (InterruptedException e) {
                failure.set(e);
            }
        }

        long end() throws Exception {
            ended = true;
            join();
            if (failure.get() != null)
                throw failure.get();
            return sent.get();
        }
    }

    /** What the members of one group read: how often each record was seen. */
    static final class Seen {
        final ConcurrentHashMap<String, Integer> times = new ConcurrentHashMap<>();

        void add(ConsumerRecord<String, String> r) {
            times.merge(r.topic() + "-" + r.partition() + "@" + r.offset(), 1, Integer::sum);
        }

        void expectEachOnce(long count) throws Exception {
            try {
                waitFor(count + " records", 30, () -> times.size() >= count);
            } catch (AssertionError e) {
                throw new AssertionError(e.getMessage() + ", have " + times.size());
            }
            List<String> twice = new ArrayList<>();
            times.forEach((where, n) -> {
                if (n > 1)
                    twice.add(where);
            });
            check(twice.isEmpty(), twice.size() + " records read twice, of them "
                  + twice.subList(0, Math.min(5, twice.size())));
            check(times.size() == count, times.size() + " records instead of " + count);
        }
    }

    /** A consumer in a thread of its own, committing on its own, that can be closed cleanly. */
    static final class Member extends Thread implements ConsumerRebalanceListener {
        final KafkaConsumer<String, String> consumer;
        final Seen seen;
        final AtomicInteger revocations = new AtomicInteger();
        private final boolean commits;
        volatile Set<TopicPartition> assigned = Set.of();
        volatile Exception failure;
        private volatile boolean ended;

        Member(Seen seen, String group, String protocol, Object... pairs) {
            Map<String, Object> all = settings("group.id", group, "group.protocol", protocol,
                                               "auto.commit.interval.ms", 500, "auto.offset.reset", "earliest",
                                               "metadata.max.age.ms", 1000);
            all.putAll(settings(pairs));
            this.seen = seen;
            // Cooperative members of the classic protocol go on reading while they join, and what they commit on
            // their own is from before that.
            commits = protocol.equals("classic");
            consumer = new KafkaConsumer<>(all, new StringDeserializer(), new StringDeserializer());
        }

        Member on(java.util.function.Consumer<Member> subscribe) {
            subscribe.accept(this);
            start();
            return this;
        }

        Member on(String... topics) {
            return on(m -> m.consumer.subscribe(List.of(topics), m));
        }

        @Override
        public void run() {
            try {
                while (!ended) {
                    consumer.poll(Duration.ofMillis(100)).forEach(seen::add);
                    assigned = Set.copyOf(consumer.assignment());
                }
            } catch (WakeupException e) {
                // end() asked for it.
            } catch (Exception e) {
                failure = e;
            } finally {
                consumer.close();
                assigned = Set.of();
            }
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> parts) {
            revocations.addAndGet(parts.size());
            if (commits)
                consumer.commitSync();
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> parts) {
            throw new IllegalStateException("lost " + parts);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> parts) {
        }

        void end() throws Exception {
            ended = true;
            join(60_000);
            check(!isAlive(), "a member did not close within a minute");
            if (failure != null)
                throw failure;
        }
    }

    /** Waits until the members own all partitions, none of them twice, each at least one; returns the ms. */
    static long awaitStable(int partitions, List<Member> members) throws Exception {
        long began = System.nanoTime();
        try {
            waitFor("", 60, () -> {
                Set<TopicPartition> all = new HashSet<>();
                int count = 0;
                for (Member m : members) {
                    if (m.failure != null)
                        throw m.failure;
                    if (m.assigned.isEmpty())
                        return false;
                    all.addAll(m.assigned);
                    count += m.assigned.size();
                }
                return count == partitions && all.size() == partitions;
            });
        } catch (AssertionError e) {
            StringBuilder text = new StringBuilder("not stable after a minute:");
            members.forEach(m -> text.append(' ').append(m.assigned));
            throw new AssertionError(text.toString());
        }
        return (System.nanoTime() - began) / 1_000_000;
    }
}
