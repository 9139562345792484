package com.google.ai.edge.litert;

import android.content.res.AssetManager;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.Array;
import java.util.Arrays;
import java.util.Map;
import java.util.Properties;

/** A text: {@code accepts=CPU GPU}, {@code in.image=float32 192}, {@code out.scores=float32 10}. */
public final class CompiledModel extends JniHandle {
    /** Of all models, since the JVM started. */
    public static int runs;

    /** As the last one was opened. */
    public static Integer threads;

    private final Properties text;

    private CompiledModel(Properties text) {
        this.text = text;
    }

    public static final class CpuOptions {
        final Integer numThreads;

        public CpuOptions(Integer numThreads, Integer xnnPackFlags, String xnnPackWeightCachePath) {
            this.numThreads = numThreads;
        }
    }

    public static final class Options {
        final Accelerator[] accelerators;
        CpuOptions cpu;

        public Options(Accelerator... accelerators) {
            this.accelerators = accelerators;
        }

        public void setCpuOptions(CpuOptions options) {
            cpu = options;
        }
    }

    public static CompiledModel create(
            AssetManager assetManager, String assetName, Options options) throws LiteRtException {
        try (InputStream in = assetManager.open(assetName)) {
            return create(in, options);
        } catch (IOException e) {
            throw new LiteRtException(500, "no asset " + assetName);
        }
    }

    public static CompiledModel create(String filePath, Options options) throws LiteRtException {
        try (InputStream in = new FileInputStream(filePath)) {
            return create(in, options);
        } catch (IOException e) {
            throw new LiteRtException(500, "no file " + filePath);
        }
    }

    private static CompiledModel create(InputStream in, Options options)
            throws LiteRtException, IOException {
        Properties text = new Properties();
        text.load(in);
        String[] accepts = text.getProperty("accepts").split(" ");
        for (Accelerator each : options.accelerators) {
            if (!Arrays.asList(accepts).contains(each.name())) {
                throw new LiteRtException(504, "Some ops are not accelerated.");
            }
        }
        threads = options.cpu == null ? null : options.cpu.numThreads;
        return new CompiledModel(text);
    }

    private TensorBuffer buffer(String side, String name, String signature) throws LiteRtException {
        assertNotDestroyed();
        String found = text.getProperty(side + name);
        if (found == null || !signature.equals(text.getProperty("signature"))) {
            throw new LiteRtException(6, "no " + name + " in " + signature);
        }
        String[] words = found.split(" ");
        return new TensorBuffer(name, words[0], array(words[0], Integer.parseInt(words[1])));
    }

    public static Object array(String type, int count) {
        switch (type) {
            case "float32":
                return new float[count];
            case "int32":
                return new int[count];
            case "int64":
                return new long[count];
            case "bool":
                return new boolean[count];
            default:
                return new byte[count];
        }
    }

    public TensorBuffer createInputBuffer(String inputName, String signature)
            throws LiteRtException {
        return buffer("in.", inputName, signature);
    }

    public TensorBuffer createOutputBuffer(String outputName, String signature)
            throws LiteRtException {
        return buffer("out.", outputName, signature);
    }

    public void run(
            Map<String, TensorBuffer> inputs, Map<String, TensorBuffer> outputs, String signature)
            throws LiteRtException {
        assertNotDestroyed();
        runs++;
        Object first = inputs.values().iterator().next().data;
        for (TensorBuffer output : outputs.values()) {
            for (int i = 0; i < Array.getLength(output.data); i++) {
                Array.set(output.data, i, Array.get(first, i % Array.getLength(first)));
            }
        }
    }
}
