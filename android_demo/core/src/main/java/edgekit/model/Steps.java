package edgekit.model;

import java.util.List;
import java.util.Map;

/**
 * The steps of a manifest, read when the app runs; a bundle's generated class has them as code.
 *
 * <p>In this package, since edgekit's Java keeps the steps to its own.
 */
public final class Steps {
    private Steps() {}

    /**
     * What the manifest's operations make of a picture or of numbers.
     *
     * <p>Throws IllegalArgumentException where a step does not fit what it gets, or is unknown.
     */
    public static Tensor apply(List<Map<String, Object>> operations, Tensor given) {
        Tensor made = given;
        for (Map<String, Object> operation : operations) {
            made = apply(operation, made);
        }
        return made;
    }

    private static Tensor apply(Map<String, Object> operation, Tensor values) {
        String name = String.valueOf(operation.get("op"));
        boolean nearest = "nearest".equals(operation.get("method"));
        switch (name) {
            case "resize":
                int height = whole(operation, "height");
                int width = whole(operation, "width");
                return nearest
                        ? Preprocessing.resizeNearest(values, height, width)
                        : Preprocessing.resizeBilinear(values, height, width);
            case "resize-short-side":
                int size = whole(operation, "size");
                return nearest
                        ? Preprocessing.resizeShortSideNearest(values, size)
                        : Preprocessing.resizeShortSideBilinear(values, size);
            case "center-crop":
                return Preprocessing.centerCrop(
                        values, whole(operation, "height"), whole(operation, "width"));
            case "color":
                return "bgr".equals(operation.get("to"))
                        ? Preprocessing.bgr(values)
                        : Preprocessing.gray(values);
            case "normalize":
                return Preprocessing.normalize(
                        values, floats(operation, "mean"), floats(operation, "std"));
            case "layout":
                return Preprocessing.channelsFirst(values);
            case "cast":
                return "float32".equals(operation.get("dtype"))
                        ? Preprocessing.castToFloat32(values)
                        : Preprocessing.cast(values, type(operation.get("dtype")));
            case "quantize":
                float scale = ((Number) operation.get("scale")).floatValue();
                return Preprocessing.quantize(
                        values, scale, whole(operation, "zero_point"), type(operation.get("dtype")));
            default:
                throw new IllegalArgumentException(
                        "the step '" + name + "' is unknown to this app; a newer one knows it");
        }
    }

    private static int whole(Map<String, Object> operation, String key) {
        return ((Number) operation.get(key)).intValue();
    }

    private static float[] floats(Map<String, Object> operation, String key) {
        List<?> numbers = (List<?>) operation.get(key);
        float[] made = new float[numbers.size()];
        for (int i = 0; i < made.length; i++) {
            // From double once, as edgekit rounds it.
            made[i] = ((Number) numbers.get(i)).floatValue();
        }
        return made;
    }

    /** Of numpy's name. */
    private static Tensor.Type type(Object name) {
        return Tensor.Type.valueOf(String.valueOf(name).toUpperCase(java.util.Locale.ROOT));
    }

    /**
     * An input or output of the manifest. Scales may be none; the axis is -1 where one is for all.
     */
    public static TensorSpec spec(
            String name, String dtype, int[] shape, float[] scale, int[] zeroPoint, int axis) {
        return new TensorSpec(name, type(dtype), shape, shape, "", scale, zeroPoint, axis);
    }

    /** The array that a runtime takes for an input: batch in front, quantized where it must be. */
    public static Object input(TensorSpec spec, Tensor prepared) {
        return Preprocessing.toInput(spec, prepared).data;
    }

    /** The classes with the highest scores in a runtime's array, best first. */
    public static List<Label> top(TensorSpec spec, Object array, List<String> labels, int count) {
        Tensor stored = new Tensor(spec.getType(), array, spec.getShape(), false);
        return Postprocessing.top(Postprocessing.toReal(spec, stored), labels, count);
    }
}
