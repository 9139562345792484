package dev.edgekit.demo.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** An input or output as the model's file describes it; the shape has the batch in it. */
public final class TensorInfo {
    /** The one that the user gave, or the file's own. */
    public final String name;
    /** The file's own. */
    public final String tensor;

    public final DType dtype;
    public final int[] shape;
    public final double[] scales;
    public final long[] zeroPoints;
    /** How many numbers. */
    public final int count;

    /** Throws Failure where no array holds as many numbers. */
    TensorInfo(
            String name, String tensor, DType dtype, int[] shape, double[] scales, long[] zeroPoints)
            throws Failure {
        this.name = name;
        this.tensor = tensor;
        this.dtype = dtype;
        this.shape = shape;
        this.scales = scales;
        this.zeroPoints = zeroPoints;
        long numbers = 1;
        for (int size : shape) {
            if (size <= 0) {
                throw Failure.refused("the size of '" + name + "' is known only when it runs");
            }
            numbers *= size;
            if (numbers * dtype.size > Integer.MAX_VALUE) {
                throw Failure.refused("'" + name + "' is too large for memory");
            }
        }
        count = (int) numbers;
    }

    TensorInfo named(String other) throws Failure {
        return new TensorInfo(other, tensor, dtype, shape, scales, zeroPoints);
    }

    int bytes() {
        return count * dtype.size;
    }

    Map<String, Object> json() {
        Map<String, Object> found = new LinkedHashMap<>();
        found.put("name", name);
        found.put("tensor", tensor);
        found.put("shape", listed(shape));
        found.put("dtype", dtype.name);
        List<Object> numbers = new ArrayList<>();
        for (double scale : scales) {
            numbers.add(scale);
        }
        found.put("scales", numbers);
        found.put("zero_points", zeroPoints);
        return found;
    }

    static List<Object> listed(int[] sizes) {
        List<Object> found = new ArrayList<>();
        for (int size : sizes) {
            found.add(size);
        }
        return found;
    }

    boolean hasShape(int[] other) {
        return Arrays.equals(shape, other);
    }
}
