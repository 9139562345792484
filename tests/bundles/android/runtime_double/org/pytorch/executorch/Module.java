package org.pytorch.executorch;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;

/** A file with the names of its backends; it gives back its first input. */
public class Module {
    public static final int LOAD_MODE_MMAP = 1;

    /** Of all modules, since the JVM started. */
    public static int runs;

    public static int threads;

    private final String[] backends;
    private boolean destroyed;

    private Module(String[] backends) {
        this.backends = backends;
    }

    public static Module load(String modelPath, int loadMode, int numThreads) {
        threads = numThreads;
        try {
            byte[] text = Files.readAllBytes(new File(modelPath).toPath());
            return new Module(new String(text, StandardCharsets.UTF_8).trim().split(" "));
        } catch (IOException e) {
            throw new IllegalArgumentException("Cannot load model path " + modelPath, e);
        }
    }

    public EValue[] forward(EValue... inputs) {
        if (destroyed) {
            throw new IllegalStateException("Module has been destroyed");
        }
        runs++;
        return new EValue[] {inputs[0]};
    }

    public MethodMetadata getMethodMetadata(String name) {
        if (!name.equals("forward")) {
            throw new IllegalArgumentException("method " + name + " does not exist");
        }
        return new MethodMetadata(backends);
    }

    public void destroy() {
        destroyed = true;
    }
}
