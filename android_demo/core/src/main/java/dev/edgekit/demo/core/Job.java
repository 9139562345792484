package dev.edgekit.demo.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/**
 * What to measure: the keys of {@code DEFAULTS} in runtime_bench/edgekit_bench/job.py, with the
 * same rules, so that one job file means the same on every runner.
 */
public final class Job {
    static final int PROTOCOL = 2;
    private static final List<String> RUNTIMES =
            Arrays.asList(
                    "ai-edge-litert", "tflite-runtime", "tensorflow", "executorch", "onnxruntime");
    private static final List<String> KEYS =
            Arrays.asList(
                    "batch", "inputs", "max_runs", "min_seconds", "model", "names", "operators",
                    "outputs", "protocol", "runs", "runtime", "sample_every", "sensors", "sha256",
                    "streams", "threads", "time_budget_seconds", "warmup_runs", "warmup_seconds");

    public final String model;
    public final String sha256;
    public final String runtime;
    public final String inputs;
    public final String outputs;
    /** Names of inputs and outputs, for a file that keeps none; null where not given. */
    public final List<String> inputNames;

    public final List<String> outputNames;
    public final long threads;
    public final boolean operators;
    /** 0 where it is left as in the model. */
    public final long batch;

    public final long warmupRuns;
    public final double warmupSeconds;
    public final long runs;
    public final double minSeconds;
    public final long sampleEvery;
    public final long maxRuns;
    public final double timeBudgetSeconds;
    public final boolean sensors;

    /** Throws Failure, naming the key, if anything is not right. */
    public static Job read(byte[] data) throws Failure {
        Object value;
        try {
            value = Json.parse(data);
        } catch (IllegalArgumentException e) {
            throw Failure.badJob("cannot read the job: " + e.getMessage());
        }
        if (!(value instanceof Map)) {
            throw Failure.badJob("the job is not a JSON object");
        }
        @SuppressWarnings("unchecked")
        Map<String, Object> given = (Map<String, Object>) value;
        return new Job(given);
    }

    private Job(Map<String, Object> given) throws Failure {
        for (String key : new TreeSet<>(given.keySet())) {
            if (!KEYS.contains(key)) {
                throw Failure.badJob(
                        "unknown key " + told(key) + " in the job; allowed: " + listed(KEYS));
            }
        }
        if (!Long.valueOf(PROTOCOL).equals(given.get("protocol"))) {
            throw new Failure(
                    Failure.BAD_JOB,
                    "bad_job",
                    "the job has protocol " + told(given.get("protocol")) + ", this runner speaks "
                            + PROTOCOL,
                    "use the app and the edgekit of one version");
        }
        model = text(given, "model", true);
        sha256 = text(given, "sha256", false);
        runtime = text(given, "runtime", false);
        inputs = text(given, "inputs", false);
        outputs = text(given, "outputs", false);
        if (runtime != null && !RUNTIMES.contains(runtime)) {
            throw Failure.badJob(
                    "there is no runtime " + told(runtime) + "; known: " + listed(RUNTIMES));
        }
        Map<String, List<String>> names = names(given.get("names"));
        inputNames = names.get("inputs");
        outputNames = names.get("outputs");
        operators = truth(given, "operators");
        sensors = sensors(given.get("sensors"));
        if (outputs != null && inputs == null) {
            throw Failure.badJob("outputs is given, but no inputs to compute them from");
        }
        threads = whole(given, "threads", 1, 1);
        long streams = whole(given, "streams", 1, 1);
        if (operators && streams != 1) {
            throw Failure.badJob("operators are told of one stream, not of " + streams);
        }
        if (outputs != null && streams != 1) {
            throw Failure.badJob("outputs are written by one stream, not by " + streams);
        }
        batch = given.get("batch") == null ? 0 : whole(given, "batch", 1, 1);
        warmupRuns = whole(given, "warmup_runs", 0, 0);
        runs = whole(given, "runs", 1, 0);
        maxRuns = whole(given, "max_runs", 200000, 1);
        sampleEvery = whole(given, "sample_every", 1, 1);
        warmupSeconds = seconds(given, "warmup_seconds", 0);
        minSeconds = seconds(given, "min_seconds", 0);
        timeBudgetSeconds = seconds(given, "time_budget_seconds", 600);
        if (timeBudgetSeconds <= 0) {
            throw Failure.badJob("time_budget_seconds must be above zero");
        }
        if (runs > maxRuns) {
            throw Failure.badJob("runs = " + runs + " is more than max_runs = " + maxRuns);
        }
        if (streams != 1) {
            // Streams are processes, and an app has one.
            throw new Failure(
                    Failure.BAD_JOB,
                    "bad_job",
                    "streams = " + streams + ": an app runs one",
                    "leave the number of streams away, or take another runner");
        }
    }

    private static String text(Map<String, Object> given, String key, boolean needed)
            throws Failure {
        Object value = given.get(key);
        if (value == null && !needed) {
            return null;
        }
        if (!(value instanceof String) || ((String) value).isEmpty()) {
            throw Failure.badJob(key + " = " + told(value) + " is not a text");
        }
        return (String) value;
    }

    private static boolean truth(Map<String, Object> given, String key) throws Failure {
        Object value = given.containsKey(key) ? given.get(key) : Boolean.FALSE;
        if (!(value instanceof Boolean)) {
            throw Failure.badJob(key + " = " + told(value) + " is not true or false");
        }
        return (Boolean) value;
    }

    private static long whole(Map<String, Object> given, String key, long otherwise, long least)
            throws Failure {
        Object value = given.containsKey(key) ? given.get(key) : Long.valueOf(otherwise);
        if (!(value instanceof Long) || (Long) value < least) {
            throw Failure.badJob(key + " = " + told(value) + " is not a whole number >= " + least);
        }
        return (Long) value;
    }

    private static double seconds(Map<String, Object> given, String key, double otherwise)
            throws Failure {
        Object value = given.containsKey(key) ? given.get(key) : Double.valueOf(otherwise);
        double seconds = value instanceof Number ? ((Number) value).doubleValue() : -1;
        if (seconds < 0 || Double.isInfinite(seconds)) {
            throw Failure.badJob(
                    key + " = " + told(value) + " is not a number of seconds, zero or more");
        }
        return seconds;
    }

    private static Map<String, List<String>> names(Object value) throws Failure {
        Map<String, List<String>> found = new HashMap<>();
        if (value == null) {
            return found;
        }
        boolean good = value instanceof Map && ((Map<?, ?>) value).size() == 2;
        for (String side : Arrays.asList("inputs", "outputs")) {
            Object names = good ? ((Map<?, ?>) value).get(side) : null;
            List<String> made = new ArrayList<>();
            if (names instanceof List) {
                for (Object name : (List<?>) names) {
                    good = good && name instanceof String && !((String) name).isEmpty();
                    made.add(String.valueOf(name));
                }
            } else {
                good = false;
            }
            found.put(side, Collections.unmodifiableList(made));
        }
        if (!good) {
            throw Failure.badJob(
                    "names = " + told(value)
                            + " is not {\"inputs\": [texts], \"outputs\": [texts]}");
        }
        return found;
    }

    private static boolean sensors(Object value) throws Failure {
        if (value == null) {
            return false;
        }
        boolean good = value instanceof Map && ((Map<?, ?>) value).size() == 3;
        if (good) {
            Map<?, ?> found = (Map<?, ?>) value;
            Object idle = found.get("idle_seconds");
            good = found.get("sampler") instanceof String && found.get("spec") instanceof Map;
            good = good && idle instanceof Number;
            good = good && ((Number) idle).doubleValue() >= 0 && ((Number) idle).doubleValue() <= 600;
        }
        if (!good) {
            throw Failure.badJob(
                    "sensors = " + told(value) + " is not {\"sampler\": text, \"spec\": object,"
                            + " \"idle_seconds\": 0 to 600}");
        }
        return true;
    }

    static String told(Object value) {
        return value instanceof String ? "'" + value + "'" : Json.write(value);
    }

    static String listed(Iterable<String> words) {
        StringBuilder text = new StringBuilder();
        for (String word : words) {
            text.append(text.length() == 0 ? "" : ", ").append(word);
        }
        return text.toString();
    }
}
