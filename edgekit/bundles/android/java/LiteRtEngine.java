package edgekit.model;

import android.content.Context;
import com.google.ai.edge.litert.CompiledModel;
import com.google.ai.edge.litert.LiteRtException;
import com.google.ai.edge.litert.TensorBuffer;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** LiteRT's CompiledModel: a .tflite on the first accelerator that takes all of it. */
final class LiteRtEngine implements Engine {
    private final String signature;
    private final List<TensorSpec> inputs;
    private final List<TensorSpec> outputs;
    private final CompiledModel model;
    private final Map<String, TensorBuffer> fed = new LinkedHashMap<>();
    private final Map<String, TensorBuffer> answered = new LinkedHashMap<>();
    private final Report report;

    LiteRtEngine(
            Context context,
            ModelFile file,
            String signature,
            List<TensorSpec> inputs,
            List<TensorSpec> outputs,
            ModelOptions options,
            List<Accelerator> usual)
            throws IOException {
        this.signature = signature;
        this.inputs = inputs;
        this.outputs = outputs;
        if (options.checkHash()) {
            file.check();
        }
        List<Accelerator> order = options.preferred().isEmpty() ? usual : options.preferred();
        List<String> refusals = new ArrayList<>();
        CompiledModel found = null;
        Accelerator applied = null;
        for (Accelerator each : order) {
            try {
                found = open(context, file, each, options.threads());
                applied = each;
                break;
            } catch (LiteRtException e) {
                refusals.add(each + ": " + e.getMessage());
            }
        }
        if (found == null) {
            throw new IllegalStateException("LiteRT does not open " + file.asset + "; " + refusals);
        }
        model = found;
        report =
                new Report(
                        applied,
                        refusals,
                        Collections.<String>emptyList(),
                        options.threads(),
                        options.checkHash(),
                        caveat(applied));
        try {
            for (TensorSpec spec : inputs) {
                fed.put(spec.getName(), model.createInputBuffer(spec.getName(), signature));
            }
            for (TensorSpec spec : outputs) {
                answered.put(spec.getName(), model.createOutputBuffer(spec.getName(), signature));
            }
        } catch (LiteRtException e) {
            close();
            throw new IllegalStateException("LiteRT has no buffers for " + file.asset, e);
        }
    }

    /** One accelerator alone: with the CPU beside it a refusal would go unseen. */
    private static CompiledModel open(
            Context context, ModelFile file, Accelerator accelerator, int threads)
            throws LiteRtException {
        com.google.ai.edge.litert.Accelerator alone =
                com.google.ai.edge.litert.Accelerator.valueOf(accelerator.name());
        CompiledModel.Options settings = new CompiledModel.Options(alone);
        if (accelerator == Accelerator.CPU && threads > 0) {
            settings.setCpuOptions(new CompiledModel.CpuOptions(threads, null, null));
        }
        return file.placed() == null
                ? CompiledModel.create(context.getAssets(), file.asset, settings)
                : CompiledModel.create(file.placed().getPath(), settings);
    }

    private static String caveat(Accelerator applied) {
        switch (applied) {
            case GPU:
                return "LiteRT took the model for the GPU alone; a single operator that its GPU"
                        + " library leaves to the CPU is told in Logcat only";
            case NPU:
                return "LiteRT adds the CPU for what was not compiled for the NPU, and does not tell"
                        + " how much that is";
            default:
                return "";
        }
    }

    @Override
    public List<Tensor> run(List<Tensor> given) {
        try {
            for (int i = 0; i < inputs.size(); i++) {
                write(fed.get(inputs.get(i).getName()), given.get(i));
            }
            model.run(fed, answered, signature);
            List<Tensor> made = new ArrayList<>();
            for (TensorSpec spec : outputs) {
                made.add(read(answered.get(spec.getName()), spec));
            }
            return made;
        } catch (LiteRtException e) {
            throw new IllegalStateException("LiteRT failed to run the model", e);
        }
    }

    private static void write(TensorBuffer buffer, Tensor values) throws LiteRtException {
        switch (values.type) {
            case UINT8: // the same bytes
            case INT8:
                buffer.writeInt8(values.bytes());
                return;
            case INT32:
                buffer.writeInt(values.ints());
                return;
            case INT64:
                buffer.writeLong(values.longs());
                return;
            case BOOL:
                buffer.writeBoolean(values.booleans());
                return;
            case FLOAT32:
                buffer.writeFloat(values.floats());
                return;
            default:
                throw new IllegalStateException("LiteRT has no buffers of " + values.type);
        }
    }

    private static Tensor read(TensorBuffer buffer, TensorSpec spec) throws LiteRtException {
        int[] shape = spec.getShape();
        switch (spec.getType()) {
            case UINT8:
            case INT8:
                return new Tensor(spec.getType(), buffer.readInt8(), shape, false);
            case INT32:
                return Tensor.of(buffer.readInt(), shape);
            case INT64:
                return Tensor.of(buffer.readLong(), shape);
            case BOOL:
                return Tensor.of(buffer.readBoolean(), shape);
            case FLOAT32:
                return Tensor.of(buffer.readFloat(), shape);
            default:
                throw new IllegalStateException("LiteRT has no buffers of " + spec.getType());
        }
    }

    @Override
    public Report report() {
        return report;
    }

    @Override
    public void close() {
        for (TensorBuffer buffer : fed.values()) {
            buffer.close();
        }
        for (TensorBuffer buffer : answered.values()) {
            buffer.close();
        }
        model.close();
    }
}
