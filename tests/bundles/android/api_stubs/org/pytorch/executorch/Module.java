package org.pytorch.executorch;

public class Module {
    public static final int LOAD_MODE_MMAP = 1;

    Module() {}

    public static Module load(String modelPath, int loadMode, int numThreads) {
        throw new UnsupportedOperationException("a stub");
    }

    public EValue[] forward(EValue... inputs) {
        throw new UnsupportedOperationException("a stub");
    }

    public MethodMetadata getMethodMetadata(String name) {
        throw new UnsupportedOperationException("a stub");
    }

    public void destroy() {
        throw new UnsupportedOperationException("a stub");
    }
}
