package dev.edgekit.demo.core;

import java.util.ArrayList;
import java.util.List;

/**
 * A .pte's inputs and outputs, of its method "forward"; the file has no names for them.
 *
 * <p>Field numbers are those of
 * https://github.com/pytorch/executorch/blob/v1.5.1/schema/program.fbs.
 */
final class PteFile {
    private static final String METHOD = "forward";
    private static final int TENSOR = 5;
    private static final DType[] TYPES = {
        DType.UINT8, DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT16,
        DType.FLOAT32, DType.FLOAT64, null, null, null, DType.BOOL
    };

    private PteFile() {}

    static ModelDescription read(FlatBuffer file) throws Failure {
        int plans = file.pointed(file.root(), 1);
        for (int i = 0; i < file.length(plans); i++) {
            int plan = file.table(plans, i);
            int name = file.pointed(plan, 0);
            if (name == 0 || !file.text(name).equals(METHOD)) {
                continue;
            }
            long planned = 0;
            for (long size : file.longs(file.pointed(plan, 8))) {
                planned += size;
            }
            return new ModelDescription(
                    tensors(file, plan, 3, "input_"), tensors(file, plan, 4, "output_"), "", planned);
        }
        throw Failure.refused("it has no method called " + METHOD);
    }

    private static List<TensorInfo> tensors(FlatBuffer file, int plan, int side, String prefix)
            throws Failure {
        List<TensorInfo> found = new ArrayList<>();
        int values = file.pointed(plan, 2);
        for (int index : file.ints(file.pointed(plan, side))) {
            String name = prefix + found.size();
            int value = file.table(values, index);
            if (file.small(value, 0, 0) != TENSOR) {
                throw Failure.refused(name + " is no tensor");
            }
            int tensor = file.pointed(value, 1);
            int type = file.small(tensor, 0, 0);
            if (type >= TYPES.length || TYPES[type] == null || !TYPES[type].held) {
                throw Failure.refused(
                        name + " has ExecuTorch's type " + type + ", of which Java has no arrays here");
            }
            found.add(
                    new TensorInfo(
                            name,
                            name,
                            TYPES[type],
                            file.ints(file.pointed(tensor, 2)),
                            new double[0],
                            new long[0]));
        }
        return found;
    }
}
