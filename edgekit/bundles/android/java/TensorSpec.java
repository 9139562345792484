package edgekit.model;

/** Name, type, shape and unit of an input or output. */
public final class TensorSpec {
    private final String name;
    private final Tensor.Type type;
    private final int[] least;
    private final int[] largest;
    private final String unit;
    final float[] scale;
    final int[] zeroPoint;
    /** Of the scales; -1 where one is for all. */
    final int axis;

    TensorSpec(
            String name,
            Tensor.Type type,
            int[] least,
            int[] largest,
            String unit,
            float[] scale,
            int[] zeroPoint,
            int axis) {
        this.name = name;
        this.type = type;
        this.least = least;
        this.largest = largest;
        this.unit = unit;
        this.scale = scale;
        this.zeroPoint = zeroPoint;
        this.axis = axis;
    }

    /** As in the manifest and in the model's file. */
    public String getName() {
        return name;
    }

    public Tensor.Type getType() {
        return type;
    }

    /** The batch first; the largest size of an axis that takes any of a range. */
    public int[] getShape() {
        return largest.clone();
    }

    /** What the numbers are, in words. */
    public String getUnit() {
        return unit;
    }

    /** Whether its integers stand for real numbers: scale x (stored - zero point). */
    public boolean isQuantized() {
        return scale.length > 0;
    }

    boolean takes(int[] shape) {
        if (shape.length != largest.length) {
            return false;
        }
        for (int i = 0; i < shape.length; i++) {
            if (shape[i] < least[i] || shape[i] > largest[i]) {
                return false;
            }
        }
        return true;
    }

    String sizes() {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < largest.length; i++) {
            text.append(i == 0 ? "" : "x");
            text.append(least[i] == largest[i] ? "" : least[i] + "..").append(largest[i]);
        }
        return largest.length == 0 ? "scalar" : text.toString();
    }

    @Override
    public String toString() {
        return name + " " + type + " " + sizes() + " (" + unit + ")";
    }
}
