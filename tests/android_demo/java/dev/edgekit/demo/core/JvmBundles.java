package dev.edgekit.demo.core;

import edgekit.model.Label;
import edgekit.model.Picture;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * For tests only: what the app reads out of bundles, on a desktop's JVM.
 *
 * <p>{@code open FOLDER ARCHIVE…} unpacks each archive into a folder of its own in FOLDER and prints
 * its card, or "refused", as a line of JSON. {@code classify FOLDER ARCHIVE RGB WIDTH HEIGHT} prints
 * the ten likeliest classes of a picture. {@code describe MODEL…} prints what each file says, or
 * "refused". {@code drivers ROOT…} prints what drivers hold, or why that is not known, by the
 * folders proc and sys in each. {@code statistics} reads a benchmark's lines from standard input.
 */
public final class JvmBundles {
    private JvmBundles() {}

    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "open":
                for (int i = 2; i < arguments.length; i++) {
                    File folder = new File(arguments[1], "bundle" + i);
                    System.out.println(Json.write(card(folder, arguments[i])));
                }
                return;
            case "classify":
                classify(arguments);
                return;
            case "describe":
                for (int i = 1; i < arguments.length; i++) {
                    describe(arguments[i]);
                }
                return;
            case "drivers":
                for (int i = 1; i < arguments.length; i++) {
                    String root = arguments[i];
                    Drivers found = Drivers.read(root + "/proc", root + "/sys", new JvmLinks());
                    Map<String, Object> told = new LinkedHashMap<>();
                    told.put("said", found.bytes == null ? found.why : found.bytes);
                    System.out.println(Json.write(told));
                }
                return;
            default:
                statistics();
        }
    }

    private static Bundle open(File folder, String archive) throws IOException {
        if (!folder.mkdirs()) {
            throw new IOException("cannot make " + folder);
        }
        try (InputStream in = new FileInputStream(archive)) {
            Archive.unpack(in, folder);
        }
        return Bundle.open(folder);
    }

    private static Map<String, Object> card(File folder, String archive) throws IOException {
        Map<String, Object> told = new LinkedHashMap<>();
        try {
            Bundle bundle = open(folder, archive);
            told.put("name", bundle.name);
            told.put("version", bundle.version);
            told.put("signed", bundle.signed);
            told.put("digest", bundle.digest);
            told.put("source", bundle.source);
            Map<String, Object> variants = new LinkedHashMap<>();
            for (Variant each : bundle.variants) {
                Map<String, Object> one = new LinkedHashMap<>();
                one.put("format", each.format);
                one.put("refusal", each.refusal);
                one.put("classifies", each.classifies());
                one.put("labels", new ArrayList<Object>(each.labels));
                one.put("verdict", each.verdict);
                one.put("quality", each.quality);
                variants.put(each.name, one);
            }
            told.put("variants", variants);
        } catch (BundleException e) {
            told.put("refused", e.getMessage());
        }
        return told;
    }

    private static void classify(String[] arguments) throws Exception {
        Bundle bundle = open(new File(arguments[1], "classify"), arguments[2]);
        Variant variant = bundle.variant(bundle.standard);
        ByteArrayOutputStream rgb = new ByteArrayOutputStream();
        try (InputStream in = new FileInputStream(arguments[3])) {
            byte[] piece = new byte[1 << 14];
            for (int n = in.read(piece); n > 0; n = in.read(piece)) {
                rgb.write(piece, 0, n);
            }
        }
        Picture picture =
                Picture.ofRgb(
                        rgb.toByteArray(),
                        Integer.parseInt(arguments[4]),
                        Integer.parseInt(arguments[5]));
        Runtime litert =
                new LiteRtOfTests(
                        System.getProperty("bridge"),
                        System.getProperty("library"),
                        System.getProperty("version"));
        litert.load();
        Engine engine = litert.open(variant.file.getPath(), variant.describe(), 1, "cpu");
        List<Object> told = new ArrayList<>();
        for (Label each : new Classifier(variant, engine).classify(picture, 10)) {
            List<Object> one = new ArrayList<>();
            one.add(each.getIndex());
            one.add(each.getName());
            one.add((double) each.getScore());
            told.add(one);
        }
        System.out.println(Json.write(told));
        engine.close();
    }

    private static void describe(String path) {
        Map<String, Object> told = new LinkedHashMap<>();
        try {
            ModelDescription found = ModelDescription.of(path, ModelKind.of(path));
            told.put("inputs", listed(found.inputs));
            told.put("outputs", listed(found.outputs));
            told.put("arena_bytes", found.arenaBytes);
        } catch (Failure e) {
            told.put("refused", e.getMessage());
        }
        System.out.println(Json.write(told));
    }

    private static List<Object> listed(List<TensorInfo> tensors) {
        List<Object> found = new ArrayList<>();
        for (TensorInfo each : tensors) {
            found.add(each.json());
        }
        return found;
    }

    private static void statistics() throws IOException {
        Result result = new Result();
        java.io.BufferedReader in =
                new java.io.BufferedReader(new java.io.InputStreamReader(System.in, "UTF-8"));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            result.line(line);
        }
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("count", result.count());
        told.put("median", result.percentile(50));
        told.put("p90", result.percentile(90));
        told.put("spread", result.spread());
        told.put("error", result.error());
        System.out.println(Json.write(told));
    }
}
