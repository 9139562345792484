package dev.edgekit.demo.core;

import edgekit.model.Steps;
import edgekit.model.TensorSpec;
import java.io.File;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** One model of a bundle: what a runtime opens, and what is known of it. */
public final class Variant {
    public final String name;
    public final String format;
    /** What the recipe was for: "xnnpack", "gpu", … */
    public final String delegate;

    public final File file;
    public final String sha256;
    public final long sizeBytes;
    public final List<TensorSpec> inputs;
    public final List<TensorSpec> outputs;
    public final List<Map<String, Object>> operations;
    public final List<String> labels;
    /** "accepted", or what else verification came to. */
    public final String verdict;
    /** Its quality in words, "top-1 0.98"; empty where it was not scored. */
    public final String quality;
    /** Why no app runs it; empty where one does. */
    public final String refusal;

    Variant(Bundle bundle, Map<String, Object> artifact, Map<String, Map<String, Object>> files)
            throws BundleException {
        name = Bundle.text(artifact, "variant");
        format = Bundle.text(artifact, "format");
        delegate = Bundle.text(Bundle.object(artifact, "recipe"), "delegate");
        List<String> paths = Bundle.texts(artifact, "files");
        for (String path : paths) {
            if (!files.containsKey(path)) {
                throw Bundle.wrong("'" + name + "' needs '" + path + "', which is not listed");
            }
        }
        if (paths.isEmpty()) {
            throw Bundle.wrong("'" + name + "' has no file");
        }
        Map<String, Object> listed = files.get(paths.get(0));
        file = new File(bundle.folder, paths.get(0));
        sha256 = Bundle.text(listed, "sha256");
        sizeBytes = Bundle.whole(listed, "size_bytes");
        operations =
                Collections.unmodifiableList(
                        Bundle.objects(Bundle.object(artifact, "preprocessing"), "operations"));
        String labelsPath = artifact.get("labels") == null ? null : Bundle.text(artifact, "labels");
        if (labelsPath != null && !files.containsKey(labelsPath)) {
            throw Bundle.wrong("'" + name + "' needs '" + labelsPath + "', which is not listed");
        }
        labels = labelsPath == null ? Collections.<String>emptyList() : bundle.labels(labelsPath);
        Map<String, Object> verdicts = Bundle.object(artifact, "verdict");
        verdict = Bundle.text(verdicts, "status");
        Object score = verdicts.get("score");
        quality = score instanceof Map ? scored((Map<?, ?>) score) : "";

        Map<String, Object> signature = Bundle.object(artifact, "signature");
        List<TensorSpec> in = new ArrayList<>();
        List<TensorSpec> out = new ArrayList<>();
        String problem = paths.size() == 1 ? "" : "it has " + paths.size() + " files";
        if (ModelKind.named(format) == null) {
            problem = "no runtime in this app reads " + format;
        }
        try {
            read(Bundle.objects(signature, "inputs"), in);
            read(Bundle.objects(signature, "outputs"), out);
        } catch (IllegalArgumentException e) {
            problem = problem.isEmpty() ? Failure.words(e) : problem;
        }
        inputs = Collections.unmodifiableList(in);
        outputs = Collections.unmodifiableList(out);
        refusal = problem;
    }

    private static String scored(Map<?, ?> score) {
        return score.get("title") + " " + score.get("value");
    }

    private static void read(List<Map<String, Object>> tensors, List<TensorSpec> to)
            throws BundleException {
        for (Map<String, Object> each : tensors) {
            String tensor = Bundle.text(each, "name");
            List<?> sizes = Bundle.list(each, "shape");
            int[] shape = new int[sizes.size()];
            for (int i = 0; i < shape.length; i++) {
                boolean known = sizes.get(i) instanceof Long && each.get("open") == null;
                if (!known || (Long) sizes.get(i) < 1 || (Long) sizes.get(i) > Integer.MAX_VALUE) {
                    throw new IllegalArgumentException("'" + tensor + "' has no fixed size");
                }
                shape[i] = (int) (long) (Long) sizes.get(i);
            }
            String dtype = Bundle.text(each, "dtype");
            if (DType.named(dtype) == null || !DType.named(dtype).held) {
                throw new IllegalArgumentException(
                        "'" + tensor + "' is " + dtype + ", of which Java has no arrays here");
            }
            float[] scale = {};
            int[] zero = {};
            int axis = -1;
            if (each.get("quantization") != null) {
                Map<String, Object> by = Bundle.object(each, "quantization");
                scale = floats(Bundle.list(by, "scale"));
                zero = new int[Bundle.list(by, "zero_point").size()];
                for (int i = 0; i < zero.length; i++) {
                    zero[i] = (int) number(Bundle.list(by, "zero_point").get(i));
                }
                axis = by.get("axis") == null ? -1 : (int) Bundle.whole(by, "axis");
                if (scale.length == 0 || zero.length == 0 || axis >= shape.length) {
                    throw Bundle.wrong("'" + tensor + "' has a quantization that is none");
                }
            }
            to.add(Steps.spec(tensor, dtype, shape, scale, zero, axis));
        }
    }

    private static float[] floats(List<?> numbers) throws BundleException {
        float[] made = new float[numbers.size()];
        for (int i = 0; i < made.length; i++) {
            made[i] = (float) number(numbers.get(i));
        }
        return made;
    }

    private static double number(Object value) throws BundleException {
        if (!(value instanceof Number)) {
            throw Bundle.wrong("a quantization has something in it that is no number");
        }
        return ((Number) value).doubleValue();
    }

    public boolean runs() {
        return refusal.isEmpty();
    }

    /** Whether pictures can be classified with it: one input, and an output of (1, classes). */
    public boolean classifies() {
        return runs() && inputs.size() == 1 && scores() >= 0 && inputs.get(0).getShape().length == 4;
    }

    /** The output that the labels speak of: the only one of shape (1, classes); -1 without. */
    public int scores() {
        int found = -1;
        for (int i = 0; i < outputs.size(); i++) {
            int[] shape = outputs.get(i).getShape();
            if (shape.length == 2) {
                found = found == -1 && shape[0] == 1 && shape[1] > 1 ? i : -2;
            }
        }
        return found;
    }

    public ModelKind kind() {
        return ModelKind.named(format);
    }

    /** A benchmark's job for it. */
    public byte[] job(int threads, int warmupRuns, int runs, double minSeconds) {
        Map<String, Object> job = new LinkedHashMap<>();
        job.put("protocol", Job.PROTOCOL);
        job.put("model", file.getPath());
        job.put("sha256", sha256);
        job.put("names", names());
        job.put("threads", threads);
        job.put("warmup_runs", warmupRuns);
        job.put("runs", runs);
        job.put("min_seconds", minSeconds);
        job.put("time_budget_seconds", 120.0);
        return Json.write(job).getBytes(Json.UTF_8);
    }

    private Map<String, Object> names() {
        List<Object> in = new ArrayList<>();
        for (TensorSpec each : inputs) {
            in.add(each.getName());
        }
        List<Object> out = new ArrayList<>();
        for (TensorSpec each : outputs) {
            out.add(each.getName());
        }
        Map<String, Object> names = new LinkedHashMap<>();
        names.put("inputs", in);
        names.put("outputs", out);
        return names;
    }

    /** What its file says, with the manifest's names where the file has none. */
    public ModelDescription describe() throws Failure {
        ModelDescription found = ModelDescription.of(file.getPath(), kind());
        if (kind() == ModelKind.TFLITE) {
            return found;
        }
        List<String> in = new ArrayList<>();
        for (TensorSpec each : inputs) {
            in.add(each.getName());
        }
        List<String> out = new ArrayList<>();
        for (TensorSpec each : outputs) {
            out.add(each.getName());
        }
        return found.named(in, out);
    }
}
