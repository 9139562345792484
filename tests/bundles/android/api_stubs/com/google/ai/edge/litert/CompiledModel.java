package com.google.ai.edge.litert;

import android.content.res.AssetManager;
import java.util.Map;

public final class CompiledModel extends JniHandle {
    CompiledModel() {}

    public static final class CpuOptions {
        public CpuOptions(Integer numThreads, Integer xnnPackFlags, String xnnPackWeightCachePath) {}
    }

    public static final class Options {
        public Options(Accelerator... accelerators) {}

        public void setCpuOptions(CpuOptions options) {
            throw new UnsupportedOperationException("a stub");
        }
    }

    public static CompiledModel create(
            AssetManager assetManager, String assetName, Options options) throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public static CompiledModel create(String filePath, Options options) throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public TensorBuffer createInputBuffer(String inputName, String signature)
            throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public TensorBuffer createOutputBuffer(String outputName, String signature)
            throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }

    public void run(
            Map<String, TensorBuffer> inputs, Map<String, TensorBuffer> outputs, String signature)
            throws LiteRtException {
        throw new UnsupportedOperationException("a stub");
    }
}
