package dev.edgekit.demo;

import com.google.ai.edge.litert.Accelerator;
import com.google.ai.edge.litert.CompiledModel;
import com.google.ai.edge.litert.LiteRtException;
import com.google.ai.edge.litert.TensorBuffer;
import dev.edgekit.demo.core.DType;
import dev.edgekit.demo.core.Engine;
import dev.edgekit.demo.core.Failure;
import dev.edgekit.demo.core.ModelDescription;
import dev.edgekit.demo.core.ModelKind;
import dev.edgekit.demo.core.Runtime;
import dev.edgekit.demo.core.TensorInfo;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** LiteRT's CompiledModel: a .tflite on one accelerator alone, so that no fallback goes unseen. */
public final class LiteRtRuntime implements Runtime {
    /** As app/build.gradle.kts asks for it; the library itself does not tell. */
    static final String VERSION = "2.3.0";

    @Override
    public String name() {
        return "ai-edge-litert";
    }

    @Override
    public String version() {
        return VERSION;
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
        Runtimes.need("com.google.ai.edge.litert.CompiledModel", name());
    }

    @Override
    public Engine open(String path, ModelDescription model, int threads, String accelerator)
            throws LiteRtException {
        Accelerator which = Accelerator.valueOf(accelerator.toUpperCase(Locale.ROOT));
        CompiledModel.Options options = new CompiledModel.Options(which);
        if (which == Accelerator.CPU) {
            options.setCpuOptions(new CompiledModel.CpuOptions(threads, null, null));
        }
        return new Opened(CompiledModel.create(path, options), model, which);
    }

    private static final class Opened implements Engine {
        private final CompiledModel compiled;
        private final ModelDescription model;
        private final Accelerator which;
        private final String signature;
        private final Map<String, TensorBuffer> fed = new LinkedHashMap<>();
        private final Map<String, TensorBuffer> answered = new LinkedHashMap<>();

        Opened(CompiledModel compiled, ModelDescription model, Accelerator which)
                throws LiteRtException {
            this.compiled = compiled;
            this.model = model;
            this.which = which;
            signature = model.signature.isEmpty() ? null : model.signature;
            try {
                for (TensorInfo each : model.inputs) {
                    fed.put(each.name, compiled.createInputBuffer(each.name, signature));
                }
                for (TensorInfo each : model.outputs) {
                    answered.put(each.name, compiled.createOutputBuffer(each.name, signature));
                }
            } catch (LiteRtException e) {
                close();
                throw e;
            }
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
        public void setInput(int index, Object array) throws LiteRtException, Failure {
            TensorInfo input = model.inputs.get(index);
            TensorBuffer buffer = fed.get(input.name);
            switch (input.dtype) {
                case UINT8: // the same bytes
                case INT8:
                    buffer.writeInt8((byte[]) array);
                    return;
                case INT32:
                    buffer.writeInt((int[]) array);
                    return;
                case INT64:
                    buffer.writeLong((long[]) array);
                    return;
                case BOOL:
                    buffer.writeBoolean((boolean[]) array);
                    return;
                case FLOAT32:
                    buffer.writeFloat((float[]) array);
                    return;
                default:
                    throw noBuffers(input.dtype);
            }
        }

        @Override
        public void run() throws LiteRtException, Failure {
            compiled.run(fed, answered, signature);
            if (which != Accelerator.CPU) {
                // Others may still compute when run() is back; an answer that is read is there.
                for (int i = 0; i < model.outputs.size(); i++) {
                    output(i);
                }
            }
        }

        @Override
        public Object output(int index) throws LiteRtException, Failure {
            TensorInfo output = model.outputs.get(index);
            TensorBuffer buffer = answered.get(output.name);
            switch (output.dtype) {
                case UINT8:
                case INT8:
                    return buffer.readInt8();
                case INT32:
                    return buffer.readInt();
                case INT64:
                    return buffer.readLong();
                case BOOL:
                    return buffer.readBoolean();
                case FLOAT32:
                    return buffer.readFloat();
                default:
                    throw noBuffers(output.dtype);
            }
        }

        private static Failure noBuffers(DType dtype) {
            return Failure.refused("LiteRT's classes for Android have no buffers of " + dtype.name);
        }

        @Override
        public Long arenaBytes() {
            return null;
        }

        @Override
        public String applied() {
            return which.name();
        }

        @Override
        public void close() {
            for (TensorBuffer buffer : fed.values()) {
                buffer.close();
            }
            for (TensorBuffer buffer : answered.values()) {
                buffer.close();
            }
            compiled.close();
        }
    }
}
