package dev.edgekit.demo.core;

import java.util.List;

/**
 * For tests only: LiteRT's C library on a desktop's JVM, in the place of its classes for Android.
 *
 * <p>It computes really, by runtime_bench/native/litert.c behind litert_of_tests.c.
 */
final class LiteRtOfTests implements Runtime {
    private final String library;
    private final String version;

    LiteRtOfTests(String bridge, String library, String version) {
        System.load(bridge);
        this.library = library;
        this.version = version;
    }

    @Override
    public String name() {
        return "ai-edge-litert";
    }

    @Override
    public String version() {
        return version;
    }

    @Override
    public ModelKind kind() {
        return ModelKind.TFLITE;
    }

    @Override
    public String noArena() {
        return "TFLite and LiteRT tell it neither in Python nor in C";
    }

    @Override
    public void load() throws Failure {
        load(library);
    }

    @Override
    public Engine open(
            String path, ModelDescription model, int threads, String accelerator)
            throws Failure {
        if (!accelerator.equals("cpu")) {
            throw Failure.refused("this LiteRT has the CPU alone, not " + accelerator);
        }
        open(path, threads);
        return new Opened(model);
    }

    private static native void load(String library) throws Failure;

    private static native void open(String path, int threads) throws Failure;

    private static native void setInput(int index, byte[] data) throws Failure;

    private static native void compute() throws Failure;

    private static native byte[] output(int index, int bytes) throws Failure;

    private static final class Opened implements Engine {
        private final ModelDescription model;

        Opened(ModelDescription model) {
            this.model = model;
        }

        @Override
        public List<TensorInfo> inputs() {
            return model.inputs;
        }

        @Override
        public List<TensorInfo> outputs() {
            return model.outputs;
        }

        @Override
        public void setInput(int index, Object array) throws Failure {
            LiteRtOfTests.setInput(index, model.inputs.get(index).dtype.bytes(array));
        }

        @Override
        public void run() throws Failure {
            compute();
        }

        @Override
        public Object output(int index) throws Failure {
            TensorInfo output = model.outputs.get(index);
            return output.dtype.array(LiteRtOfTests.output(index, output.bytes()));
        }

        @Override
        public Long arenaBytes() {
            return null;
        }

        @Override
        public String applied() {
            return "CPU";
        }

        @Override
        public void close() {} // the process ends with it
    }
}
