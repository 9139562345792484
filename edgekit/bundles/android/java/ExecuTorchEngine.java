package edgekit.model;

import android.content.Context;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.pytorch.executorch.EValue;
import org.pytorch.executorch.Module;

/** ExecuTorch's Module: a .pte, whose delegate was chosen when it was made. */
final class ExecuTorchEngine implements Engine {
    private static final String METHOD = "forward";

    private final List<TensorSpec> outputs;
    private final Module module;
    private final Report report;

    ExecuTorchEngine(
            Context context,
            ModelFile file,
            List<TensorSpec> outputs,
            ModelOptions options,
            Accelerator usual)
            throws IOException {
        this.outputs = outputs;
        if (!options.preferred().isEmpty()) {
            throw new IllegalArgumentException(
                    "the delegate of a .pte was chosen when it was made; leave prefer() away, or"
                            + " bundle the variant for the other accelerator");
        }
        String path = file.extracted(options.checkHash()).getPath();
        module = Module.load(path, Module.LOAD_MODE_MMAP, options.threads());
        String[] backends = module.getMethodMetadata(METHOD).getBackends();
        String caveat = "ExecuTorch computes on the CPU what the .pte does not hand to a backend";
        report =
                new Report(
                        backends.length == 0 ? Accelerator.CPU : usual,
                        Collections.<String>emptyList(),
                        Arrays.asList(backends),
                        options.threads(),
                        options.checkHash(),
                        usual == Accelerator.CPU ? "" : caveat);
    }

    @Override
    public List<Tensor> run(List<Tensor> given) {
        EValue[] values = new EValue[given.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = EValue.from(toRuntime(given.get(i)));
        }
        EValue[] answers = module.forward(values);
        if (answers.length != outputs.size()) {
            throw new IllegalStateException(
                    "ExecuTorch gave " + answers.length + " outputs, not " + outputs.size());
        }
        List<Tensor> made = new ArrayList<>();
        for (int i = 0; i < answers.length; i++) {
            made.add(fromRuntime(answers[i].toTensor(), outputs.get(i)));
        }
        return made;
    }

    private static org.pytorch.executorch.Tensor toRuntime(Tensor values) {
        long[] shape = new long[values.shape.length];
        for (int i = 0; i < shape.length; i++) {
            shape[i] = values.shape[i];
        }
        switch (values.type) {
            case UINT8:
                return org.pytorch.executorch.Tensor.fromBlobUnsigned(values.bytes(), shape);
            case INT8:
                return org.pytorch.executorch.Tensor.fromBlob(values.bytes(), shape);
            case INT32:
                return org.pytorch.executorch.Tensor.fromBlob(values.ints(), shape);
            case INT64:
                return org.pytorch.executorch.Tensor.fromBlob(values.longs(), shape);
            case FLOAT32:
                return org.pytorch.executorch.Tensor.fromBlob(values.floats(), shape);
            default:
                throw new IllegalStateException("ExecuTorch takes no tensor of " + values.type);
        }
    }

    private static Tensor fromRuntime(org.pytorch.executorch.Tensor values, TensorSpec spec) {
        long[] sizes = values.shape();
        int[] shape = new int[sizes.length];
        for (int i = 0; i < shape.length; i++) {
            shape[i] = (int) sizes[i];
        }
        switch (spec.getType()) {
            case UINT8:
                return Tensor.ofUint8(values.getDataAsUnsignedByteArray(), shape);
            case INT8:
                return Tensor.ofInt8(values.getDataAsByteArray(), shape);
            case INT32:
                return Tensor.of(values.getDataAsIntArray(), shape);
            case INT64:
                return Tensor.of(values.getDataAsLongArray(), shape);
            case FLOAT32:
                return Tensor.of(values.getDataAsFloatArray(), shape);
            default:
                throw new IllegalStateException("ExecuTorch gives no tensor of " + spec.getType());
        }
    }

    @Override
    public Report report() {
        return report;
    }

    @Override
    public void close() {
        module.destroy();
    }
}
