package dev.edgekit.demo;

import dev.edgekit.demo.core.DType;
import dev.edgekit.demo.core.Engine;
import dev.edgekit.demo.core.Failure;
import dev.edgekit.demo.core.ModelDescription;
import dev.edgekit.demo.core.ModelKind;
import dev.edgekit.demo.core.Runtime;
import dev.edgekit.demo.core.TensorInfo;
import java.util.List;
import org.pytorch.executorch.EValue;
import org.pytorch.executorch.Module;
import org.pytorch.executorch.Tensor;

/** ExecuTorch's Module: a .pte, whose delegate was chosen when it was made. */
public final class ExecuTorchRuntime implements Runtime {
    /** As app/build.gradle.kts asks for it; the library itself does not tell. */
    static final String VERSION = "1.5.1";

    private static final String METHOD = "forward";

    @Override
    public String name() {
        return "executorch";
    }

    @Override
    public String version() {
        return VERSION;
    }

    @Override
    public ModelKind kind() {
        return ModelKind.EXECUTORCH;
    }

    @Override
    public String noArena() {
        return "the file does not tell what is planned";
    }

    @Override
    public void load() throws Failure {
        Runtimes.need("org.pytorch.executorch.Module", name());
    }

    @Override
    public Engine open(String path, ModelDescription model, int threads, String accelerator) {
        return new Opened(Module.load(path, Module.LOAD_MODE_MMAP, threads), model);
    }

    private static final class Opened implements Engine {
        private final Module module;
        private final ModelDescription model;
        private final EValue[] given;
        private EValue[] answers;

        Opened(Module module, ModelDescription model) {
            this.module = module;
            this.model = model;
            given = new EValue[model.inputs.size()];
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
            TensorInfo input = model.inputs.get(index);
            long[] shape = new long[input.shape.length];
            for (int i = 0; i < shape.length; i++) {
                shape[i] = input.shape[i];
            }
            given[index] = EValue.from(tensor(input.dtype, array, shape));
        }

        private static Tensor tensor(DType dtype, Object array, long[] shape) throws Failure {
            switch (dtype) {
                case UINT8:
                    return Tensor.fromBlobUnsigned((byte[]) array, shape);
                case INT8:
                    return Tensor.fromBlob((byte[]) array, shape);
                case INT32:
                    return Tensor.fromBlob((int[]) array, shape);
                case INT64:
                    return Tensor.fromBlob((long[]) array, shape);
                case FLOAT32:
                    return Tensor.fromBlob((float[]) array, shape);
                default:
                    throw noTensors(dtype);
            }
        }

        @Override
        public void run() {
            answers = module.forward(given);
        }

        @Override
        public Object output(int index) throws Failure {
            Tensor answer = answers[index].toTensor();
            switch (model.outputs.get(index).dtype) {
                case UINT8:
                    return answer.getDataAsUnsignedByteArray();
                case INT8:
                    return answer.getDataAsByteArray();
                case INT32:
                    return answer.getDataAsIntArray();
                case INT64:
                    return answer.getDataAsLongArray();
                case FLOAT32:
                    return answer.getDataAsFloatArray();
                default:
                    throw noTensors(model.outputs.get(index).dtype);
            }
        }

        private static Failure noTensors(DType dtype) {
            return Failure.refused("ExecuTorch's classes for Android have no tensors of " + dtype.name);
        }

        @Override
        public Long arenaBytes() {
            return model.arenaBytes;
        }

        @Override
        public String applied() {
            String[] backends = module.getMethodMetadata(METHOD).getBackends();
            StringBuilder text = new StringBuilder();
            for (String each : backends) {
                text.append(text.length() == 0 ? "" : ", ").append(each);
            }
            return text.length() == 0 ? "CPU" : text.toString();
        }

        @Override
        public void close() {
            module.destroy();
        }
    }
}
