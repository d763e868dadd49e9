// SPDX-License-Identifier: Apache-2.0
// What goes into the word count, 2,000 lines a second, and what must come out.
// Usage: Words <bootstrap> send <lines> | check <lines>

import java.util.*;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.*;

public final class Words {
    private static final int DIFFERENT = 37;

    private Words() {
    }

    public static void main(String[] args) {
        Support.main(args, () -> {
            switch (args[1]) {
            case "send" -> send(Integer.parseInt(args[2]));
            case "check" -> check(Integer.parseInt(args[2]));
            default -> throw new IllegalArgumentException(args[1]);
            }
        });
    }

    private static String word(long i) {
        return "w" + i * i % DIFFERENT;
    }

    private static String line(int i) {
        return word(3L * i) + " " + word(3L * i + 1) + " " + word(3L * i + 2);
    }

    private static void send(int lines) throws Exception {
        try (KafkaProducer<String, String> p = Support.producer("linger.ms", 5)) {
            for (int i = 0; i < lines; i++) {
                p.send(new ProducerRecord<>("lines", "k" + i, line(i)));
                if (i % 20 == 0)
                    Thread.sleep(10);
            }
        }
    }

    /** Of each word the counts 1, 2, 3, ... in order, none left out and none twice. */
    private static void check(int lines) throws Exception {
        Map<String, Long> expected = new TreeMap<>();
        for (long i = 0; i < 3L * lines; i++)
            expected.merge(word(i), 1L, Long::sum);
        Support.waitFor("the last count", 90, () -> Support.readAll("counts", "read_committed").size() >= 3 * lines);
        Map<String, Long> seen = new TreeMap<>();
        List<ConsumerRecord<String, String>> records = Support.readAll("counts", "read_committed");
        for (ConsumerRecord<String, String> r : records) {
            long before = seen.getOrDefault(r.key(), 0L);
            long now = Long.parseLong(r.value());
            Support.check(now == before + 1, r.key() + ": " + now + " after " + before);
            seen.put(r.key(), now);
        }
        Support.check(seen.equals(expected), "counted " + seen + " instead of " + expected);
        int all = Support.readAll("counts", "read_uncommitted").size();
        System.out.println("word count: " + records.size() + " counts, all exact; " + (all - records.size())
                           + " more were aborted");
    }
}
