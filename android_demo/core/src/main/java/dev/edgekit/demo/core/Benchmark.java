package dev.edgekit.demo.core;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/**
 * A job from "hello" to "done" or "error": the protocol of runtime_bench/edgekit_bench.
 *
 * <p>Times are of System.nanoTime(), which is the monotonic clock on Android and on Linux.
 */
public final class Benchmark {
    private static final String RUNNER_VERSION = "0.2.0-app";
    private static final int SAMPLES_A_LINE = 10000;
    private static final long ALARM_GRACE_SECONDS = 15;

    private final List<Runtime> runtimes;
    private final Machine machine;
    private final Lines lines;
    private final String accelerator;

    /**
     * @param accelerator what a .tflite is opened for: "cpu", as jobs from outside, "gpu" or "npu"
     */
    public Benchmark(List<Runtime> runtimes, Machine machine, Lines lines, String accelerator) {
        this.runtimes = runtimes;
        this.machine = machine;
        this.lines = lines;
        this.accelerator = accelerator;
    }

    /**
     * Measures, and gives the lines of it. The last one is "done" or "error", whatever happens.
     *
     * @param startedNs when the process began, as System.nanoTime() tells
     * @param tooLong called if the runtime hangs past the time budget, when that has been told;
     *     ends the process
     * @return the exit status: 0, or the failure's
     */
    public int run(byte[] jobJson, long startedNs, final java.lang.Runnable tooLong) {
        try {
            Job job = Job.read(jobJson);
            if (!new File(job.model).isFile()) {
                throw Failure.badJob("there is no model file '" + job.model + "'");
            }
            long limit = (long) Math.ceil(job.timeBudgetSeconds) + ALARM_GRACE_SECONDS;
            final java.util.Timer timer = new java.util.Timer("time budget", true);
            timer.schedule(
                    new java.util.TimerTask() {
                        @Override
                        public void run() {
                            failed(
                                    new Failure(
                                            Failure.FAILED,
                                            "run_failed",
                                            "the runtime hangs: it is past the time budget",
                                            "another delegate, or fewer threads"));
                            tooLong.run();
                        }
                    },
                    // A budget of more than 290 million years is none.
                    (long) Math.min(limit * 1000.0, Long.MAX_VALUE / 4));
            try {
                measure(job, startedNs);
            } finally {
                timer.cancel();
            }
            return 0;
        } catch (Failure failure) {
            return failed(failure);
        } catch (OutOfMemoryError error) {
            return failed(
                    new Failure(
                            Failure.FAILED,
                            "run_failed",
                            "the app's memory is full: " + Failure.words(error),
                            "give fewer samples as inputs"));
        }
    }

    /** Tells of a failure as the last line; its exit status. */
    public int failed(Failure failure) {
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("code", failure.code);
        told.put("message", failure.getMessage());
        told.put("hint", failure.hint);
        emit("error", told);
        return failure.status;
    }

    private void emit(String event, Map<String, Object> values) {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("event", event);
        all.putAll(values);
        lines.line(Json.write(all));
    }

    private Runtime runtimeFor(Job job, ModelKind kind) throws Failure {
        List<String> names = new ArrayList<>();
        for (Runtime each : runtimes) {
            names.add(each.name());
            boolean wanted = job.runtime == null ? each.kind() == kind : each.name().equals(job.runtime);
            if (wanted) {
                if (each.kind() != kind) {
                    throw Failure.refused(each.name() + " reads no ." + kind.format);
                }
                each.load();
                return each;
            }
        }
        throw new Failure(
                Failure.NO_RUNTIME,
                "runtime_missing",
                "the app has no " + (job.runtime == null ? kind.format : job.runtime) + ", only "
                        + Job.listed(names),
                "take another runner for it");
    }

    private void measure(Job job, long startedNs) throws Failure {
        long deadline = startedNs + (long) Math.min(job.timeBudgetSeconds * 1e9, Long.MAX_VALUE / 4);
        ModelKind kind = ModelKind.of(job.model);
        Runtime runtime = runtimeFor(job, kind);
        Map<String, Object> hello = new LinkedHashMap<>();
        hello.put("protocol", Job.PROTOCOL);
        hello.put("runner", RUNNER_VERSION);
        hello.put("runtime", runtime.name());
        hello.put("runtime_version", runtime.version());
        hello.putAll(machine.describe());
        emit("hello", hello);
        if (job.sha256 != null) {
            checkDigest(job);
        }
        environment("before");

        Map<String, Object> memory = new LinkedHashMap<>();
        put(memory, "before_load_bytes", machine.residentBytes());
        long began = System.nanoTime();
        ModelDescription model =
                ModelDescription.of(job.model, kind).named(job.inputNames, job.outputNames);
        refuseOtherBatch(job, model);
        Engine engine = open(runtime, job, model);
        long loadNs = System.nanoTime() - began;
        try {
            put(memory, "after_load_bytes", machine.residentBytes());
            Map<String, Object> load = new LinkedHashMap<>();
            load.put("ns", loadNs);
            load.put("inputs", described(engine.inputs()));
            load.put("outputs", described(engine.outputs()));
            emit("load", load);
            measured(job, engine, deadline, began, memory, runtime);
        } finally {
            engine.close();
        }
    }

    /** The runtimes' classes for Android cannot change a model's shapes. */
    private static void refuseOtherBatch(Job job, ModelDescription model) throws Failure {
        for (TensorInfo input : model.inputs) {
            if (job.batch != 0 && input.shape.length > 0 && input.shape[0] != job.batch) {
                throw Failure.refused(
                        "an app cannot change the batch of '" + input.name + "' from "
                                + input.shape[0] + " to " + job.batch);
            }
        }
    }

    private Engine open(Runtime runtime, Job job, ModelDescription model) throws Failure {
        try {
            return runtime.open(
                    job.model,
                    model,
                    (int) Math.min(job.threads, Integer.MAX_VALUE),
                    accelerator);
        } catch (Failure failure) {
            throw failure;
        } catch (Exception | LinkageError e) { // the runtimes throw many kinds
            throw Failure.refusedBy(e);
        }
    }

    private void measured(
            Job job,
            Engine engine,
            long deadline,
            long idleNs,
            Map<String, Object> memory,
            Runtime runtime)
            throws Failure {
        Rows rows = job.inputs == null ? null : Rows.read(job.inputs, engine.inputs());
        try {
            List<Object> values = rows == null ? synthetic(engine.inputs()) : rows.batch(0);
            set(engine, values);
            long began = System.nanoTime();
            engine.run();
            long firstNs = System.nanoTime() - began;
            Finite finite = new Finite(engine.outputs());
            finite.add(outputs(engine));
            Map<String, Object> first = new LinkedHashMap<>();
            first.put("ns", firstNs);
            finite.tell(first);
            emit("first", first);
            if (job.outputs != null) {
                check(job, engine, rows);
                set(engine, values);
            }
        } catch (Failure failure) {
            throw failure;
        } catch (Exception e) {
            throw Failure.runFailed(e);
        }
        String stopped = timed(job, engine, deadline);
        Map<String, Object> unavailable = new LinkedHashMap<>();
        memory.putAll(machine.memory(job.model, unavailable));
        if (engine.arenaBytes() == null) {
            unavailable.put("arena_bytes", runtime.noArena());
        } else {
            memory.put("arena_bytes", engine.arenaBytes());
        }
        if (job.operators) {
            Map<String, Object> told = new LinkedHashMap<>();
            told.put("unavailable", "the runtimes' classes for Android have no profiler");
            emit("operators", told);
        }
        memory.put("unavailable", unavailable);
        emit("memory", memory);
        environment("after");
        if (job.sensors) {
            Map<String, Object> told = new LinkedHashMap<>();
            told.put("problem", "an app may not start a sampler: it ran without sensors");
            told.put("idle_start_ns", idleNs);
            told.put("idle_end_ns", idleNs);
            emit("sensors", told);
        }
        Map<String, Object> done = new LinkedHashMap<>();
        done.put("stopped", stopped);
        emit("done", done);
    }

    private void environment(String when) {
        Map<String, Object> values = new LinkedHashMap<>();
        values.put("when", when);
        values.putAll(machine.environment());
        emit("environment", values);
    }

    private static void put(Map<String, Object> to, String key, Object value) {
        if (value != null) {
            to.put(key, value);
        }
    }

    private static List<Object> described(List<TensorInfo> tensors) {
        List<Object> found = new ArrayList<>();
        for (TensorInfo each : tensors) {
            found.add(each.json());
        }
        return found;
    }

    private static void set(Engine engine, List<Object> values) throws Exception {
        for (int i = 0; i < values.size(); i++) {
            engine.setInput(i, values.get(i));
        }
    }

    private static List<byte[]> outputs(Engine engine) throws Exception {
        List<byte[]> found = new ArrayList<>();
        for (int i = 0; i < engine.outputs().size(); i++) {
            found.add(engine.outputs().get(i).dtype.bytes(engine.output(i)));
        }
        return found;
    }

    /**
     * Inputs of the right shape and type where none are given: floats in [0, 1), since zeros would
     * let some paths look better than they are; of quantized integers the whole range; 0 of others,
     * which are mostly indices.
     */
    static List<Object> synthetic(List<TensorInfo> inputs) {
        Random random = new Random(0);
        List<Object> made = new ArrayList<>();
        for (TensorInfo input : inputs) {
            byte[] data = new byte[input.bytes()];
            if (input.dtype.isFloat()) {
                float[] floats = new float[input.count];
                for (int i = 0; i < floats.length; i++) {
                    floats[i] = random.nextFloat();
                }
                made.add(floats);
                continue;
            }
            if (input.scales.length > 0) {
                random.nextBytes(data);
            }
            made.add(input.dtype.array(data));
        }
        return made;
    }

    /** Every sample, and all outputs, one row a sample, into the .npz that the job names. */
    private void check(Job job, Engine engine, Rows rows) throws Exception {
        List<TensorInfo> outputs = engine.outputs();
        Finite finite = new Finite(outputs);
        List<java.io.ByteArrayOutputStream> kept = new ArrayList<>();
        int[] counts = new int[outputs.size()];
        for (int i = 0; i < outputs.size(); i++) {
            kept.add(new java.io.ByteArrayOutputStream());
        }
        for (int start = 0; start < rows.count; start += rows.size) {
            set(engine, rows.batch(start));
            engine.run();
            List<byte[]> answers = outputs(engine);
            finite.add(answers);
            int fresh = Math.min(rows.size, rows.count - start);
            for (int i = 0; i < outputs.size(); i++) {
                boolean many = batched(outputs.get(i), rows.size);
                int length = answers.get(i).length;
                kept.get(i).write(answers.get(i), 0, many ? length / rows.size * fresh : length);
                counts[i] += many ? fresh : 1;
            }
        }
        Map<String, Npz.Array> arrays = new LinkedHashMap<>();
        for (int i = 0; i < outputs.size(); i++) {
            TensorInfo output = outputs.get(i);
            boolean split = batched(output, rows.size) || (output.shape.length > 0 && output.shape[0] == 1);
            int[] own = split ? Arrays.copyOfRange(output.shape, 1, output.shape.length) : output.shape;
            int[] shape = new int[own.length + 1];
            shape[0] = counts[i];
            System.arraycopy(own, 0, shape, 1, own.length);
            arrays.put(
                    "out:" + output.name,
                    new Npz.Array(output.dtype, shape, kept.get(i).toByteArray()));
        }
        Npz.write(job.outputs, arrays);
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("samples", rows.count);
        told.put("path", job.outputs);
        finite.tell(told);
        emit("check", told);
    }

    private static boolean batched(TensorInfo output, int size) {
        return size > 1 && output.shape.length > 0 && output.shape[0] == size;
    }

    /** For each float output how many numbers are NaN or infinite. */
    private static final class Finite {
        private final List<TensorInfo> outputs;
        private final long[] bad;
        private final long[] of;

        Finite(List<TensorInfo> outputs) {
            this.outputs = outputs;
            bad = new long[outputs.size()];
            of = new long[outputs.size()];
        }

        void add(List<byte[]> answers) {
            for (int i = 0; i < outputs.size(); i++) {
                if (!outputs.get(i).dtype.isFloat()) {
                    continue;
                }
                for (float value : (float[]) outputs.get(i).dtype.array(answers.get(i))) {
                    bad[i] += Float.isNaN(value) || Float.isInfinite(value) ? 1 : 0;
                    of[i]++;
                }
            }
        }

        void tell(Map<String, Object> to) {
            List<Object> found = new ArrayList<>();
            for (int i = 0; i < bad.length; i++) {
                if (bad[i] > 0) {
                    Map<String, Object> one = new LinkedHashMap<>();
                    one.put("name", outputs.get(i).name);
                    one.put("not_finite", bad[i]);
                    one.put("of", of[i]);
                    found.add(one);
                }
            }
            to.put("finite", found.isEmpty());
            to.put("not_finite", found);
        }
    }

    // --- the measurement

    private static final class Samples {
        long[] ns = new long[1 << 12];
        int count;
        String stopped = "enough";

        void add(long value) {
            if (count == ns.length) {
                ns = Arrays.copyOf(ns, 2 * count);
            }
            ns[count++] = value;
        }
    }

    /** Warms up, takes samples, tells both; why sampling stopped. */
    private String timed(Job job, Engine engine, long deadline) throws Failure {
        System.gc(); // so that it is less likely to run between two clock readings
        Samples warmup;
        Samples samples;
        long began;
        long ended;
        Double[] cores;
        try {
            warmup = sample(engine, job.warmupRuns, job.warmupSeconds, job.maxRuns, deadline, 1);
            Machine.OtherWork others = machine.new OtherWork();
            began = System.nanoTime();
            samples = sample(
                    engine, job.runs, job.minSeconds, job.maxRuns, deadline, job.sampleEvery);
            ended = System.nanoTime();
            cores = others.cores();
        } catch (Exception e) {
            throw Failure.runFailed(e);
        }
        Map<String, Object> window = new LinkedHashMap<>();
        window.put("stream", 0);
        window.put("start_ns", began);
        window.put("end_ns", ended);
        emit("window", window);
        tell("warmup", warmup);
        tell("samples", samples);
        Map<String, Object> interference = new LinkedHashMap<>();
        interference.put("own_cores", cores[0]);
        interference.put("other_cores", cores[1]);
        emit("interference", interference);
        return samples.stopped;
    }

    private void tell(String event, Samples samples) {
        for (int start = 0; start < samples.count; start += SAMPLES_A_LINE) {
            int end = Math.min(start + SAMPLES_A_LINE, samples.count);
            Map<String, Object> values = new LinkedHashMap<>();
            values.put("stream", 0);
            values.put("ns", Arrays.copyOfRange(samples.ns, start, end));
            emit(event, values);
        }
    }

    /** Nothing but the call stands between the two clock readings. */
    private static Samples sample(
            Engine engine, long runs, double seconds, long maxRuns, long deadline, long every)
            throws Exception {
        Samples samples = new Samples();
        if (runs <= 0 && seconds <= 0) {
            return samples;
        }
        long enough = System.nanoTime() + (long) Math.min(seconds * 1e9, Long.MAX_VALUE / 4);
        while (true) {
            for (long i = 1; i < every; i++) {
                engine.run();
            }
            long before = System.nanoTime();
            engine.run();
            long after = System.nanoTime();
            samples.add(after - before);
            if (samples.count >= runs && after >= enough) {
                return samples;
            }
            if (samples.count >= maxRuns) {
                samples.stopped = "max_runs";
                return samples;
            }
            if (after >= deadline) {
                samples.stopped = "time_budget";
                return samples;
            }
        }
    }

    private static void checkDigest(Job job) throws Failure {
        String digest;
        try (InputStream in = new FileInputStream(job.model)) {
            digest = sha256(in);
        } catch (IOException e) {
            throw Failure.refused("cannot read '" + job.model + "': " + Failure.words(e));
        }
        if (!digest.equals(job.sha256)) {
            throw new Failure(
                    Failure.REFUSED,
                    "model_changed",
                    job.model + " has SHA-256 " + digest.substring(0, 12) + ", not "
                            + job.sha256.substring(0, Math.min(12, job.sha256.length())),
                    "remove it from the device and push it again");
        }
    }

    /** In hex. */
    static String sha256(InputStream in) throws IOException {
        MessageDigest digest = newSha256();
        byte[] piece = new byte[1 << 16];
        for (int n = in.read(piece); n > 0; n = in.read(piece)) {
            digest.update(piece, 0, n);
        }
        return hex(digest.digest());
    }

    static MessageDigest newSha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("no SHA-256 on this device", e);
        }
    }

    static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte each : bytes) {
            text.append(Character.forDigit(each >> 4 & 15, 16)).append(Character.forDigit(each & 15, 16));
        }
        return text.toString();
    }
}
