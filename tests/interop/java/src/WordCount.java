// SPDX-License-Identifier: Apache-2.0
// The word count of Kafka Streams with exactly_once_v2.  Every word that is read makes one record of its new count,
// because nothing is cached.  Usage: WordCount <bootstrap> <state folder>, ends when it is ended.

import java.time.Duration;
import java.util.*;
import java.util.concurrent.CountDownLatch;

import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler;
import org.apache.kafka.streams.kstream.*;

public final class WordCount {
    private WordCount() {
    }

    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("state.dir", args[1]);
        settings.put("application.id", "word-count");
        settings.put("processing.guarantee", "exactly_once_v2");
        settings.put("statestore.cache.max.bytes", 0);
        settings.put("commit.interval.ms", 100);
        settings.put("num.stream.threads", 2);
        settings.put("replication.factor", 1);
        settings.put("default.key.serde", Serdes.StringSerde.class);
        settings.put("default.value.serde", Serdes.StringSerde.class);
        settings.put("consumer.auto.offset.reset", "earliest");
        // A member that was killed must be missed soon, or the next start waits for it.
        settings.put("consumer.session.timeout.ms", 6000);
        settings.put("producer.transaction.timeout.ms", 10000);
        StreamsBuilder builder = new StreamsBuilder();
        builder.<String, String>stream("lines")
               .flatMapValues(line -> List.of(line.split(" ")))
               .groupBy((key, word) -> word)
               .count(Named.as("count"), Materialized.with(Serdes.String(), Serdes.Long()))
               .toStream()
               .mapValues(count -> Long.toString(count))
               .to("counts", Produced.with(Serdes.String(), Serdes.String()));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(Duration.ofSeconds(20));
            ended.countDown();
        }));
        streams.start();
        ended.await();
    }
}
