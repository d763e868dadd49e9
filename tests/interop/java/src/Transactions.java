// SPDX-License-Identifier: Apache-2.0
// Transactions seen by both kinds of readers.  Usage: Transactions <bootstrap> <scenario> [protocol]

import java.time.Duration;
import java.util.*;

import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.*;

public final class Transactions {
    private Transactions() {
    }

    public static void main(String[] args) {
        Support.main(args, () -> scenario(args));
    }

    private static void scenario(String[] args) throws Exception {
        switch (args[1]) {
        case "features" -> features();
        case "isolation" -> isolation();
        case "zombie" -> zombie();
        case "timeout" -> timeout();
        case "offsets" -> offsets(args[2]);
        case "leave-open" -> leaveOpen(args[2], args[3]);
        default -> throw new IllegalArgumentException(args[1]);
        }
    }

    private static KafkaProducer<String, String> transactional(String id, Object... pairs) {
        List<Object> all = new ArrayList<>(List.of("transactional.id", id, "linger.ms", 5));
        all.addAll(List.of(pairs));
        KafkaProducer<String, String> p = Support.producer(all.toArray());
        p.initTransactions();
        return p;
    }

    private static void features() throws Exception {
        try (Admin admin = Admin.create(Support.settings())) {
            FeatureMetadata found = admin.describeFeatures().featureMetadata().get();
            FinalizedVersionRange range = found.finalizedFeatures().get("transaction.version");
            Support.check(range != null && range.maxVersionLevel() == 2, "transaction.version: " + found);
        }
        System.out.println("transaction.version 2 is final");
    }

    private static List<String> values(List<ConsumerRecord<String, String>> records) {
        return records.stream().map(ConsumerRecord::value).sorted().toList();
    }

    /** Every third transaction is aborted, some are empty, all on several partitions, one is left open. */
    private static void isolation() throws Exception {
        Support.createTopic("isolation", 3);
        List<String> committed = new ArrayList<>();
        List<String> all = new ArrayList<>();
        try (KafkaProducer<String, String> p = transactional("isolation")) {
            long began = System.nanoTime();
            for (int t = 0; t < 300; t++) {
                p.beginTransaction();
                for (int i = 0; i < t % 50; i++) {
                    String value = String.format("%04d-%03d", t, i);
                    p.send(new ProducerRecord<>("isolation", i % 3, "k", value));
                    all.add(value);
                    if (t % 3 != 0)
                        committed.add(value);
                }
                // An abort forgets what is not sent yet.
                p.flush();
                if (t % 3 == 0)
                    p.abortTransaction();
                else
                    p.commitTransaction();
            }
            long ms = (System.nanoTime() - began) / 1_000_000;
            compare(committed, all);
            p.beginTransaction();
            for (int i = 0; i < 3; i++)
                p.send(new ProducerRecord<>("isolation", i, "k", "open-" + i)).get();
            all.addAll(List.of("open-0", "open-1", "open-2"));
            compare(committed, all);
            p.commitTransaction();
            committed.addAll(List.of("open-0", "open-1", "open-2"));
            compare(committed, all);
            System.out.println("isolation: 300 transactions in " + ms + " ms, " + committed.size() + " of "
                               + all.size() + " records committed");
        }
    }

    private static void compare(List<String> committed, List<String> all) {
        List<String> sorted = committed.stream().sorted().toList();
        List<String> seen = values(Support.readAll("isolation", "read_committed"));
        Support.check(seen.equals(sorted), seen.size() + " read committed, " + sorted.size() + " committed");
        sorted = all.stream().sorted().toList();
        seen = values(Support.readAll("isolation", "read_uncommitted"));
        Support.check(seen.equals(sorted), seen.size() + " read uncommitted, " + sorted.size() + " sent");
    }

    private static <T extends Exception> void expect(Class<T> kind, Runnable action) {
        try {
            action.run();
        } catch (Exception e) {
            if (kind.isInstance(e) || kind.isInstance(e.getCause()))
                return;
            throw new AssertionError("expected " + kind.getSimpleName() + ", got " + e, e);
        }
        throw new AssertionError(kind.getSimpleName() + " did not come");
    }

    /** Two producers of one id: what the first has open is aborted, and it can neither send nor commit. */
    private static void zombie() throws Exception {
        Support.createTopic("zombie", 2);
        try (KafkaProducer<String, String> first = transactional("zombie");
             KafkaProducer<String, String> second = transactional("other")) {
            for (KafkaProducer<String, String> p : List.of(first, second)) {
                p.beginTransaction();
                p.send(new ProducerRecord<>("zombie", 0, "k", "of a zombie")).get();
            }
            try (KafkaProducer<String, String> third = transactional("zombie");
                 KafkaProducer<String, String> fourth = transactional("other")) {
                for (KafkaProducer<String, String> p : List.of(third, fourth)) {
                    p.beginTransaction();
                    p.send(new ProducerRecord<>("zombie", 0, "k", "of a successor")).get();
                }
                expect(InvalidProducerEpochException.class, () -> {
                    first.send(new ProducerRecord<>("zombie", 1, "k", "too late"));
                    first.commitTransaction();
                });
                expect(ProducerFencedException.class, second::commitTransaction);
                third.commitTransaction();
                fourth.commitTransaction();
            }
        }
        List<String> seen = values(Support.readAll("zombie", "read_committed"));
        Support.check(seen.equals(List.of("of a successor", "of a successor")), seen.toString());
        System.out.println("zombie: fenced at produce and at commit");
    }

    /** A transaction past its time-out is aborted, which lets readers go on and fences its producer. */
    private static void timeout() throws Exception {
        Support.createTopic("timeout", 1);
        KafkaProducer<String, String> p = transactional("timeout", "transaction.timeout.ms", 1000);
        p.beginTransaction();
        p.send(new ProducerRecord<>("timeout", 0, "k", "lost")).get();
        long began = System.nanoTime();
        try (KafkaProducer<String, String> other = Support.producer()) {
            other.send(new ProducerRecord<>("timeout", 0, "k", "behind it")).get();
        }
        Support.check(Support.readAll("timeout", "read_committed").isEmpty(), "read past an open transaction");
        Support.waitFor("the abort", 30, () -> !Support.readAll("timeout", "read_committed").isEmpty());
        long ms = (System.nanoTime() - began) / 1_000_000;
        List<String> seen = values(Support.readAll("timeout", "read_committed"));
        Support.check(seen.equals(List.of("behind it")), seen.toString());
        expect(KafkaException.class, p::commitTransaction);
        p.close(Duration.ZERO);
        try (KafkaProducer<String, String> again = transactional("timeout")) {
            again.beginTransaction();
            again.send(new ProducerRecord<>("timeout", 0, "k", "anew"));
            again.commitTransaction();
        }
        seen = values(Support.readAll("timeout", "read_committed"));
        Support.check(seen.equals(List.of("anew", "behind it")), seen.toString());
        System.out.println("timeout: a transaction of 1000 ms was aborted after " + ms + " ms");
    }

    /** Reads, passes on and commits in one transaction; every fourth is aborted and done again. */
    private static void offsets(String protocol) throws Exception {
        String in = "in-" + protocol;
        String out = "out-" + protocol;
        final int count = 5000;
        Support.createTopic(in, 4);
        Support.createTopic(out, 4);
        try (KafkaProducer<String, String> p = Support.producer("linger.ms", 5)) {
            for (int i = 0; i < count; i++)
                p.send(new ProducerRecord<>(in, "k" + i, "v" + i));
        }
        int aborted = 0;
        try (KafkaConsumer<String, String> c = passer(in, protocol);
             KafkaProducer<String, String> p = transactional(in)) {
            c.subscribe(List.of(in));
            int passed = 0;
            for (int t = 0; passed < count; t++) {
                ConsumerRecords<String, String> records = c.poll(Duration.ofMillis(500));
                if (records.isEmpty())
                    continue;
                p.beginTransaction();
                records.forEach(r -> p.send(new ProducerRecord<>(out, r.key(), r.value())));
                p.sendOffsetsToTransaction(ends(records), c.groupMetadata());
                if (t % 4 == 0) {
                    p.abortTransaction();
                    aborted++;
                    rewind(c);
                } else {
                    p.commitTransaction();
                    passed += records.count();
                }
            }
            long committed = c.committed(c.assignment()).values().stream()
                              .mapToLong(o -> o == null ? 0 : o.offset()).sum();
            Support.check(committed == count, committed + " committed of " + count);
            staleMember(in, p, c.groupMetadata());
        }
        Set<String> seen = new HashSet<>(values(Support.readAll(out, "read_committed")));
        Support.check(seen.size() == count, seen.size() + " different values");
        int total = Support.readAll(out, "read_committed").size();
        Support.check(total == count, total + " records instead of " + count);
        System.out.println("offsets " + protocol + ": " + count + " records once each, " + aborted
                           + " transactions aborted");
    }

    private static KafkaConsumer<String, String> passer(String group, String protocol) {
        return Support.consumer("group.id", group, "group.protocol", protocol, "enable.auto.commit", false,
                                "isolation.level", "read_committed", "max.poll.records", 200);
    }

    private static Map<TopicPartition, OffsetAndMetadata> ends(ConsumerRecords<String, String> records) {
        Map<TopicPartition, OffsetAndMetadata> found = new HashMap<>();
        for (TopicPartition p : records.partitions()) {
            List<ConsumerRecord<String, String>> list = records.records(p);
            found.put(p, new OffsetAndMetadata(list.get(list.size() - 1).offset() + 1));
        }
        return found;
    }

    private static void rewind(KafkaConsumer<String, String> c) {
        Map<TopicPartition, OffsetAndMetadata> committed = c.committed(c.assignment());
        committed.forEach((p, o) -> c.seek(p, o == null ? 0 : o.offset()));
    }

    /** Offsets in the name of a member that the group does not have are refused. */
    private static void staleMember(String topic, KafkaProducer<String, String> p, ConsumerGroupMetadata real) {
        ConsumerGroupMetadata stale = new ConsumerGroupMetadata(real.groupId(), real.generationId(),
                                                                "nobody", Optional.empty());
        p.beginTransaction();
        expect(CommitFailedException.class, () -> {
            p.sendOffsetsToTransaction(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(1)), stale);
            p.commitTransaction();
        });
        p.abortTransaction();
    }

    /** A transaction that stays open when the program ends without a word. */
    private static void leaveOpen(String id, String topic) throws Exception {
        KafkaProducer<String, String> p = transactional(id, "transaction.timeout.ms", 600_000);
        p.beginTransaction();
        p.send(new ProducerRecord<>(topic, 0, "k", "open")).get();
        System.out.println("open");
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }
}
