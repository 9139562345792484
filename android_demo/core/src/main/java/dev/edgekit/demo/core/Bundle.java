package dev.edgekit.demo.core;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A bundle of edgekit's in a folder, every file of it compared with its manifest.
 *
 * <p>Reads manifests of the schemas 1 and 2; see edgekit/bundles/manifest.py.
 */
public final class Bundle {
    private static final String MANIFEST = "manifest.json";
    private static final String SIDECAR = "manifest.sha256";
    private static final String SIGNATURE = "model.sig";
    private static final int MOST_MANIFEST_BYTES = 4 << 20;
    private static final int MOST_LABEL_BYTES = 4 << 20;

    public final File folder;
    public final String name;
    public final String version;
    public final String description;
    public final String licence;
    public final String maintainer;
    public final String created;
    public final String standard;
    public final List<String> notices;
    public final List<Variant> variants;
    /** SHA-256 of the manifest, in hex: it stands for the whole. */
    public final String digest;
    /** It has a signature. By whom, and whether it holds, this app does not check. */
    public final boolean signed;

    public final String source;
    public final String profile;
    public final String madeBy;
    public final String judgedOn;

    private Bundle(File folder, Map<String, Object> manifest, String digest) throws BundleException {
        this.folder = folder;
        this.digest = digest;
        name = text(manifest, "name");
        version = text(manifest, "version");
        description = textOr(manifest, "description");
        licence = textOr(manifest, "licence");
        maintainer = textOr(manifest, "maintainer");
        created = text(manifest, "created");
        standard = text(manifest, "default");
        notices = texts(manifest, "notices");
        signed = manifest.get("signature") != null;
        Map<String, Object> from = object(manifest, "provenance");
        source = text(from, "model_name") + " (" + text(from, "model_kind") + ")";
        profile = text(from, "profile");
        madeBy = text(from, "bundled_by");
        judgedOn = textOr(from, "judged_on");

        Map<String, Map<String, Object>> files = new HashMap<>();
        for (Map<String, Object> file : objects(manifest, "files")) {
            Archive.checkPath(text(file, "path"));
            if (files.put(text(file, "path"), file) != null) {
                throw wrong("'" + text(file, "path") + "' is listed twice");
            }
        }
        checkFiles(files);
        List<Variant> found = new ArrayList<>();
        for (Map<String, Object> artifact : objects(manifest, "artifacts")) {
            found.add(new Variant(this, artifact, files));
        }
        variants = Collections.unmodifiableList(found);
        if (variant(standard) == null) {
            throw wrong("the default '" + standard + "' is none of its variants");
        }
    }

    /** Opens a folder, or the one folder in it. Throws BundleException where anything differs. */
    public static Bundle open(File folder) throws IOException {
        File top = folder;
        File[] inside = folder.listFiles();
        if (!new File(folder, MANIFEST).isFile() && inside != null && inside.length == 1) {
            top = inside[0];
        }
        if (!new File(top, MANIFEST).isFile()) {
            throw new BundleException(
                    "there is no " + MANIFEST + " in it: edgekit bundle build makes bundles");
        }
        byte[] data = small(new File(top, MANIFEST), MOST_MANIFEST_BYTES);
        String digest = Benchmark.sha256(new ByteArrayInputStream(data));
        byte[] sidecar = small(new File(top, SIDECAR), 1000);
        if (!new String(sidecar, Json.UTF_8).equals(digest + "  " + MANIFEST + "\n")) {
            throw new BundleException(MANIFEST + " is not the one that " + SIDECAR + " was made for");
        }
        Object manifest;
        try {
            manifest = Json.parse(data);
        } catch (IllegalArgumentException e) {
            throw wrong("it is not valid JSON: " + e.getMessage());
        }
        if (!(manifest instanceof Map)) {
            throw wrong("it is no object");
        }
        @SuppressWarnings("unchecked")
        Map<String, Object> content = (Map<String, Object>) manifest;
        Object schema = content.get("schema");
        if (!Long.valueOf(1).equals(schema) && !Long.valueOf(2).equals(schema)) {
            throw wrong("its schema is " + Json.write(schema) + ", this app reads 1 and 2");
        }
        return new Bundle(top, content, digest);
    }

    public Variant variant(String name) {
        for (Variant each : variants) {
            if (each.name.equals(name)) {
                return each;
            }
        }
        return null;
    }

    private void checkFiles(Map<String, Map<String, Object>> files) throws BundleException {
        for (Map.Entry<String, Map<String, Object>> entry : files.entrySet()) {
            String path = entry.getKey();
            File file = new File(folder, path);
            if (!file.isFile()) {
                throw new BundleException(Archive.told(path) + " is missing");
            }
            String digest;
            try (InputStream in = new FileInputStream(file)) {
                digest = Benchmark.sha256(in);
            } catch (IOException e) {
                throw new BundleException(Archive.told(path) + ": " + Failure.words(e));
            }
            boolean same = digest.equals(text(entry.getValue(), "sha256"));
            if (!same || file.length() != whole(entry.getValue(), "size_bytes")) {
                throw new BundleException(Archive.told(path) + " was changed: its SHA-256 differs");
            }
        }
        Set<String> allowed = new HashSet<>(files.keySet());
        allowed.add(MANIFEST);
        allowed.add(SIDECAR);
        if (signed) {
            allowed.add(SIGNATURE);
            if (!new File(folder, SIGNATURE).isFile()) {
                throw new BundleException(SIGNATURE + " is missing, and the manifest says it is signed");
            }
        }
        refuseOthers(folder, "", allowed);
    }

    private static void refuseOthers(File folder, String prefix, Set<String> allowed)
            throws BundleException {
        File[] inside = folder.listFiles();
        for (File each : inside == null ? new File[0] : inside) {
            String path = prefix + each.getName();
            if (each.isDirectory()) {
                refuseOthers(each, path + "/", allowed);
            } else if (!allowed.contains(path)) {
                throw new BundleException(Archive.told(path) + " does not belong to it");
            }
        }
    }

    /** The lines of a labels file. */
    List<String> labels(String path) throws BundleException {
        try {
            String text = new String(small(new File(folder, path), MOST_LABEL_BYTES), Json.UTF_8);
            List<String> found = new ArrayList<>();
            for (String line : text.split("\n", -1)) {
                found.add(line.endsWith("\r") ? line.substring(0, line.length() - 1) : line);
            }
            if (!found.isEmpty() && found.get(found.size() - 1).isEmpty()) {
                found.remove(found.size() - 1);
            }
            return Collections.unmodifiableList(found);
        } catch (BundleException e) {
            throw e;
        } catch (IOException e) {
            throw new BundleException(Archive.told(path) + ": " + Failure.words(e));
        }
    }

    private static byte[] small(File file, int most) throws IOException {
        if (!file.isFile()) {
            throw new BundleException(file.getName() + " is missing");
        }
        ByteArrayOutputStream made = new ByteArrayOutputStream();
        byte[] piece = new byte[1 << 14];
        try (InputStream in = new FileInputStream(file)) {
            for (int n = in.read(piece); n > 0; n = in.read(piece)) {
                made.write(piece, 0, n);
                if (made.size() > most) {
                    throw new BundleException(file.getName() + " is larger than " + most + " bytes");
                }
            }
        }
        return made.toByteArray();
    }

    // --- values of the manifest, which may be of any kind

    static BundleException wrong(String what) {
        return new BundleException(MANIFEST + ": " + what);
    }

    static String text(Map<String, Object> of, String key) throws BundleException {
        if (!(of.get(key) instanceof String)) {
            throw wrong("'" + key + "' is no text");
        }
        return (String) of.get(key);
    }

    static String textOr(Map<String, Object> of, String key) throws BundleException {
        return of.get(key) == null ? "" : text(of, key);
    }

    static long whole(Map<String, Object> of, String key) throws BundleException {
        if (!(of.get(key) instanceof Long)) {
            throw wrong("'" + key + "' is no whole number");
        }
        return (Long) of.get(key);
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> object(Map<String, Object> of, String key) throws BundleException {
        if (!(of.get(key) instanceof Map)) {
            throw wrong("'" + key + "' is no object");
        }
        return (Map<String, Object>) of.get(key);
    }

    static List<?> list(Map<String, Object> of, String key) throws BundleException {
        if (!(of.get(key) instanceof List)) {
            throw wrong("'" + key + "' is no list");
        }
        return (List<?>) of.get(key);
    }

    @SuppressWarnings("unchecked")
    static List<Map<String, Object>> objects(Map<String, Object> of, String key)
            throws BundleException {
        List<Map<String, Object>> found = new ArrayList<>();
        for (Object each : list(of, key)) {
            if (!(each instanceof Map)) {
                throw wrong("'" + key + "' has something in it that is no object");
            }
            found.add((Map<String, Object>) each);
        }
        return found;
    }

    static List<String> texts(Map<String, Object> of, String key) throws BundleException {
        List<String> found = new ArrayList<>();
        for (Object each : list(of, key)) {
            if (!(each instanceof String)) {
                throw wrong("'" + key + "' has something in it that is no text");
            }
            found.add((String) each);
        }
        return Collections.unmodifiableList(found);
    }
}
