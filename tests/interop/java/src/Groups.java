// SPDX-License-Identifier: Apache-2.0
// Groups of several members while records arrive.  Usage: Groups <bootstrap> <scenario> [protocol]

import java.time.Duration;
import java.util.*;

import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.*;

public final class Groups {
    private static final int PARTITIONS = 12;

    private Groups() {
    }

    public static void main(String[] args) {
        Support.main(args, () -> scenario(args));
    }

    private static void scenario(String[] args) throws Exception {
        switch (args[1]) {
        case "rebalance" -> rebalance(args[2]);
        case "migrate" -> migrate();
        case "regex" -> regex(args[2]);
        case "fixed" -> fixed(args[2]);
        case "hold" -> hold(args[2]);
        default -> throw new IllegalArgumentException(args[1]);
        }
    }

    private static Support.Member member(Support.Seen seen, String group, String protocol, Object... pairs) {
        Map<String, Object> all = new HashMap<>();
        for (int i = 0; i < pairs.length; i += 2)
            all.put((String) pairs[i], pairs[i + 1]);
        if (protocol.equals("classic"))
            all.putIfAbsent("partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
        List<Object> flat = new ArrayList<>();
        all.forEach((k, v) -> flat.addAll(List.of(k, v)));
        return new Support.Member(seen, group, protocol, flat.toArray());
    }

    /** One member, then four, then two of them leave and one joins. */
    private static void rebalance(String protocol) throws Exception {
        String topic = "rebalance-" + protocol;
        Support.createTopic(topic, PARTITIONS);
        Support.Feed feed = new Support.Feed(topic);
        Support.Seen seen = new Support.Seen();
        List<Support.Member> live = new ArrayList<>(List.of(member(seen, topic, protocol).on(topic)));
        StringBuilder times = new StringBuilder();
        times.append("1 member ").append(Support.awaitStable(PARTITIONS, live)).append(" ms");
        for (int i = 0; i < 3; i++)
            live.add(member(seen, topic, protocol).on(topic));
        times.append(", 4 members ").append(Support.awaitStable(PARTITIONS, live)).append(" ms");
        for (int i = 0; i < 2; i++)
            live.remove(0).end();
        times.append(", 2 left ").append(Support.awaitStable(PARTITIONS, live)).append(" ms");
        live.add(member(seen, topic, protocol).on(topic));
        times.append(", 1 joined ").append(Support.awaitStable(PARTITIONS, live)).append(" ms");
        finish(topic, feed, seen, live, times.toString());
    }

    private static void finish(String topic, Support.Feed feed, Support.Seen seen, List<Support.Member> live,
                               String times) throws Exception {
        long sent = feed.end();
        seen.expectEachOnce(sent);
        for (Support.Member m : live)
            m.end();
        try (KafkaConsumer<String, String> c = Support.consumer("group.id", topic)) {
            Set<TopicPartition> parts = new HashSet<>();
            for (int i = 0; i < PARTITIONS; i++)
                parts.add(new TopicPartition(topic, i));
            long committed = c.committed(parts).values().stream().mapToLong(o -> o == null ? 0 : o.offset()).sum();
            Support.check(committed == sent, committed + " committed of " + sent);
        }
        System.out.println(topic + ": " + sent + " records once each; stable: " + times);
    }

    private static String kind(String group) throws Exception {
        try (Admin admin = Admin.create(Support.settings())) {
            return admin.describeConsumerGroups(List.of(group)).all().get().get(group).type().toString();
        }
    }

    /** A live classic group becomes one of the consumer protocol, member by member, and a classic one again. */
    private static void migrate() throws Exception {
        String topic = "migrate";
        Support.createTopic(topic, PARTITIONS);
        Support.Feed feed = new Support.Feed(topic);
        Support.Seen seen = new Support.Seen();
        List<Support.Member> live = new ArrayList<>();
        for (int i = 0; i < 2; i++)
            live.add(member(seen, topic, "classic").on(topic));
        StringBuilder times = new StringBuilder();
        times.append("2 classic ").append(Support.awaitStable(PARTITIONS, live)).append(" ms");
        Support.check(kind(topic).equals("Classic"), kind(topic));
        for (int i = 0; i < 2; i++)
            live.add(member(seen, topic, "consumer").on(topic));
        times.append(", mixed ").append(Support.awaitStable(PARTITIONS, live)).append(" ms");
        Support.check(kind(topic).equals("Consumer"), kind(topic));
        leave(live);
        times.append(", 2 consumer ").append(Support.awaitStable(PARTITIONS, live)).append(" ms");
        for (int i = 0; i < 2; i++)
            live.add(member(seen, topic, "classic").on(topic));
        times.append(", mixed ").append(Support.awaitStable(PARTITIONS, live)).append(" ms");
        leave(live);
        times.append(", 2 classic ").append(Support.awaitStable(PARTITIONS, live)).append(" ms");
        Support.check(kind(topic).equals("Classic"), kind(topic));
        finish(topic, feed, seen, live, times.toString());
    }

    /** Two members, one after the other: a generation that the others missed would cost them their partitions. */
    private static void leave(List<Support.Member> live) throws Exception {
        live.remove(0).end();
        Support.awaitStable(PARTITIONS, live);
        live.remove(0).end();
    }

    /** A pattern takes in a topic that is created later, and leaves others alone. */
    private static void regex(String protocol) throws Exception {
        String prefix = "regex-" + protocol;
        for (String suffix : List.of("-a", "-b", "x"))
            Support.createTopic(prefix + suffix, 3);
        Support.Feed feed = new Support.Feed(prefix + "-a", prefix + "-b", prefix + "x");
        Support.Seen seen = new Support.Seen();
        List<Support.Member> live = new ArrayList<>();
        for (int i = 0; i < 2; i++)
            live.add(member(seen, prefix, protocol).on(m -> {
                if (protocol.equals("consumer"))
                    m.consumer.subscribe(new SubscriptionPattern(prefix + "-[a-c]"), m);
                else
                    m.consumer.subscribe(java.util.regex.Pattern.compile(prefix + "-[a-c]"), m);
            }));
        long first = Support.awaitStable(6, live);
        Support.createTopic(prefix + "-c", 3);
        long second = Support.awaitStable(9, live);
        feed.topics.set(2, prefix + "-c");
        Thread.sleep(500);
        feed.end();
        long sent = 0;
        try (KafkaConsumer<String, String> c = Support.consumer()) {
            for (String suffix : List.of("-a", "-b", "-c"))
                for (int i = 0; i < 3; i++) {
                    TopicPartition p = new TopicPartition(prefix + suffix, i);
                    sent += c.endOffsets(List.of(p)).get(p);
                }
        }
        seen.expectEachOnce(sent);
        for (Support.Member m : live)
            m.end();
        System.out.println(prefix + ": " + sent + " records once each; stable after " + first
                           + " ms, with the new topic after " + second + " ms");
    }

    /** A static member comes back to its partitions and nobody else loses any; its name is held. */
    private static void fixed(String protocol) throws Exception {
        String topic = "fixed-" + protocol;
        Support.createTopic(topic, PARTITIONS);
        Support.Feed feed = new Support.Feed(topic);
        Support.Seen seen = new Support.Seen();
        List<Support.Member> live = new ArrayList<>();
        for (int i = 0; i < 3; i++)
            live.add(member(seen, topic, protocol, "group.instance.id", "i" + i).on(topic));
        Support.awaitStable(PARTITIONS, live);
        Thread.sleep(1500);
        Support.awaitStable(PARTITIONS, live);
        Set<TopicPartition> mine = live.get(1).assigned;
        int before = live.get(0).revocations.get() + live.get(2).revocations.get();
        live.get(1).end();
        live.set(1, member(seen, topic, protocol, "group.instance.id", "i1").on(topic));
        long back = Support.awaitStable(PARTITIONS, live);
        Support.check(live.get(1).assigned.equals(mine), live.get(1).assigned + " instead of " + mine);
        int lost = live.get(0).revocations.get() + live.get(2).revocations.get() - before;
        Support.check(lost == 0, lost + " partitions of others revoked");
        secondOfAName(topic, protocol, live);
        finish(topic, feed, seen, live, "back after " + back + " ms");
    }

    /** KIP-848: the newcomer is refused while the name is in use; before, the newcomer fenced the old one. */
    private static void secondOfAName(String topic, String protocol, List<Support.Member> live) throws Exception {
        if (!protocol.equals("consumer"))
            return;
        try (KafkaConsumer<String, String> c = Support.consumer("group.id", topic, "group.protocol", protocol,
                                                               "group.instance.id", "i0")) {
            c.subscribe(List.of(topic));
            for (int i = 0; i < 100; i++)
                Support.check(c.poll(Duration.ofMillis(100)).isEmpty(), "a second member of a name was served");
            throw new AssertionError("a second member of a name was not refused");
        } catch (UnreleasedInstanceIdException e) {
            Support.awaitStable(PARTITIONS, live);
        }
    }

    /** Two members in a group of each protocol that have read and committed all, until the program is ended. */
    private static void hold(String topic) throws Exception {
        List<Support.Member> live = new ArrayList<>();
        for (String protocol : List.of("classic", "consumer")) {
            Support.Seen seen = new Support.Seen();
            List<Support.Member> group = new ArrayList<>();
            for (int i = 0; i < 2; i++)
                group.add(new Support.Member(seen, "held-" + protocol, protocol).on(topic));
            Support.awaitStable(4, group);
            live.addAll(group);
        }
        Thread.sleep(2000);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                for (Support.Member m : live)
                    m.end();
            } catch (Exception e) {
                e.printStackTrace();
            }
        }));
        System.out.println("held");
        System.out.flush();
        new java.util.concurrent.CountDownLatch(1).await();
    }
}
