package edgekit.model;

/**
 * The steps that make an input of a picture or of numbers, to the bit as edgekit does them.
 *
 * <p>Where a model was verified, its inputs were made by these steps; one that is made in another
 * way (by Android's own scaling, say) is another input. Plain Java. All of them throw
 * IllegalArgumentException where a step does not fit what it gets.
 */
public final class Preprocessing {
    private static final int FRACTION_BITS = 11;
    private static final int ONE = 1 << FRACTION_BITS;

    private Preprocessing() {}

    /** To height x width pixels; half-pixel centres, no antialiasing, 11 fractional bits. */
    static Tensor resizeBilinear(Tensor image, int height, int width) {
        checkImage(image, "resize");
        int from = image.shape[1];
        int channels = image.shape[2];
        byte[] in = image.bytes();
        byte[] out = new byte[Tensor.count(new int[] {height, width, channels})];
        int[][] rows = neighbours(image.shape[0], height);
        int[][] columns = neighbours(from, width);
        int at = 0;
        for (int y = 0; y < height; y++) {
            int above = rows[0][y] * from;
            int below = rows[1][y] * from;
            int g = rows[2][y];
            for (int x = 0; x < width; x++) {
                int f = columns[2][x];
                int left = columns[0][x];
                int right = columns[1][x];
                int a = (above + left) * channels;
                int b = (above + right) * channels;
                int c = (below + left) * channels;
                int d = (below + right) * channels;
                for (int channel = 0; channel < channels; channel++) {
                    int top = (in[a++] & 0xFF) * (ONE - f) + (in[b++] & 0xFF) * f;
                    int bottom = (in[c++] & 0xFF) * (ONE - f) + (in[d++] & 0xFF) * f;
                    int blended = top * (ONE - g) + bottom * g + (1 << (2 * FRACTION_BITS - 1));
                    out[at++] = (byte) (blended >> (2 * FRACTION_BITS));
                }
            }
        }
        return Tensor.ofUint8(out, height, width, channels);
    }

    /** For each position: the pixel before it, the one after, and the weight of the latter. */
    private static int[][] neighbours(int size, int wanted) {
        int[][] found = new int[3][wanted];
        for (int o = 0; o < wanted; o++) {
            long over = (2L * o + 1) * size - wanted;
            // Below zero the position is that of the first pixel.
            long p = over < 0 ? 0 : (over << FRACTION_BITS) / (2L * wanted);
            found[0][o] = (int) (p >> FRACTION_BITS);
            found[1][o] = Math.min(found[0][o] + 1, size - 1);
            found[2][o] = (int) (p & (ONE - 1));
        }
        return found;
    }

    /** To height x width pixels, each the nearest one. */
    static Tensor resizeNearest(Tensor image, int height, int width) {
        checkImage(image, "resize");
        int from = image.shape[1];
        int channels = image.shape[2];
        byte[] in = image.bytes();
        byte[] out = new byte[Tensor.count(new int[] {height, width, channels})];
        int at = 0;
        for (int y = 0; y < height; y++) {
            int row = nearest(y, image.shape[0], height) * from;
            for (int x = 0; x < width; x++) {
                int pixel = (row + nearest(x, from, width)) * channels;
                for (int channel = 0; channel < channels; channel++) {
                    out[at++] = in[pixel++];
                }
            }
        }
        return Tensor.ofUint8(out, height, width, channels);
    }

    private static int nearest(int o, int size, int wanted) {
        return (int) Math.min((2L * o + 1) * size / (2L * wanted), size - 1);
    }

    /** So that the shorter side has {@code size} pixels. */
    static Tensor resizeShortSideBilinear(Tensor image, int size) {
        int[] sides = shortSide(image, size);
        return resizeBilinear(image, sides[0], sides[1]);
    }

    /** So that the shorter side has {@code size} pixels, each the nearest one. */
    static Tensor resizeShortSideNearest(Tensor image, int size) {
        int[] sides = shortSide(image, size);
        return resizeNearest(image, sides[0], sides[1]);
    }

    private static int[] shortSide(Tensor image, int size) {
        checkImage(image, "resize-short-side");
        long small = Math.min(image.shape[0], image.shape[1]);
        long large = Math.max(image.shape[0], image.shape[1]);
        int other = (int) Math.max(1, (2 * large * size + small) / (2 * small));
        return image.shape[0] <= image.shape[1] ? new int[] {size, other} : new int[] {other, size};
    }

    /** The middle height x width pixels. */
    static Tensor centerCrop(Tensor image, int height, int width) {
        checkImage(image, "center-crop");
        int from = image.shape[1];
        if (image.shape[0] < height || from < width) {
            throw new IllegalArgumentException(
                    "center-crop to " + height + "x" + width + ": the image is smaller, " + image);
        }
        int channels = image.shape[2];
        int top = (image.shape[0] - height) / 2;
        int left = (from - width) / 2;
        byte[] in = image.bytes();
        byte[] out = new byte[height * width * channels];
        for (int y = 0; y < height; y++) {
            int start = ((top + y) * from + left) * channels;
            System.arraycopy(in, start, out, y * width * channels, width * channels);
        }
        return Tensor.ofUint8(out, height, width, channels);
    }

    /** RGB becomes BGR. */
    static Tensor bgr(Tensor image) {
        byte[] in = colors(image);
        byte[] out = new byte[in.length];
        for (int i = 0; i < in.length; i += 3) {
            out[i] = in[i + 2];
            out[i + 1] = in[i + 1];
            out[i + 2] = in[i];
        }
        return Tensor.ofUint8(out, image.shape);
    }

    /** One grey channel (ITU-R BT.601, in 16 bits). */
    static Tensor gray(Tensor image) {
        byte[] in = colors(image);
        byte[] out = new byte[in.length / 3];
        for (int i = 0, at = 0; i < out.length; i++) {
            int red = in[at++] & 0xFF;
            int green = in[at++] & 0xFF;
            int blue = in[at++] & 0xFF;
            out[i] = (byte) ((19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16);
        }
        return Tensor.ofUint8(out, image.shape[0], image.shape[1], 1);
    }

    private static byte[] colors(Tensor image) {
        checkImage(image, "color");
        if (image.shape[2] != 3) {
            throw new IllegalArgumentException("color needs 3 channels, the image is " + image);
        }
        return image.bytes();
    }

    private static void checkImage(Tensor image, String step) {
        boolean fits =
                image.shape.length == 3
                        && image.type == Tensor.Type.UINT8
                        && !image.channelsFirst
                        && image.count() > 0;
        if (!fits) {
            throw new IllegalArgumentException(
                    step + " needs an image, UINT8 height x width x channels, not " + image);
        }
    }

    /** (x - mean) / std in float32; one value of each for all channels, or one a channel. */
    static Tensor normalize(Tensor values, float[] mean, float[] std) {
        checkFinite(values, "normalize");
        int stated = Math.max(mean.length, std.length);
        int rank = values.shape.length;
        int channels = rank == 0 ? 1 : values.shape[values.channelsFirst ? 0 : rank - 1];
        if (stated > 1 && (rank == 0 || stated != channels)) {
            throw new IllegalArgumentException(
                    "normalize: " + stated + " channels stated, the input is " + values);
        }
        float[] out = new float[values.count()];
        int each = values.channelsFirst ? out.length / Math.max(channels, 1) : 1;
        for (int i = 0; i < out.length; i++) {
            int channel = stated == 1 ? 0 : i / each % channels;
            float shift = mean[mean.length == 1 ? 0 : channel];
            float divisor = std[std.length == 1 ? 0 : channel];
            out[i] = (values.real(i) - shift) / divisor;
        }
        return new Tensor(Tensor.Type.FLOAT32, out, values.shape, values.channelsFirst);
    }

    /** Height x width x channels becomes channels x height x width. */
    static Tensor channelsFirst(Tensor values) {
        if (values.shape.length != 3 || values.channelsFirst) {
            throw new IllegalArgumentException(
                    "layout needs height x width x channels, not " + values);
        }
        checkFinite(values, "layout");
        int pixels = values.shape[0] * values.shape[1];
        int channels = values.shape[2];
        int[] shape = {channels, values.shape[0], values.shape[1]};
        Tensor made = Tensor.zeros(values.type, shape);
        for (int channel = 0; channel < channels; channel++) {
            for (int pixel = 0; pixel < pixels; pixel++) {
                int from = pixel * channels + channel;
                System.arraycopy(values.data, from, made.data, channel * pixels + pixel, 1);
            }
        }
        return new Tensor(values.type, made.data, shape, true);
    }

    /** To float32; exact for the types of pictures. */
    static Tensor castToFloat32(Tensor values) {
        checkFinite(values, "cast");
        float[] out = new float[values.count()];
        for (int i = 0; i < out.length; i++) {
            out[i] = values.real(i);
        }
        return new Tensor(Tensor.Type.FLOAT32, out, values.shape, values.channelsFirst);
    }

    /** To an integer type: half goes to even, what is outside of the type saturates. */
    static Tensor cast(Tensor values, Tensor.Type type) {
        checkFinite(values, "cast");
        Tensor made = Tensor.zeros(type, values.shape);
        boolean real = values.type == Tensor.Type.FLOAT32;
        for (int i = 0; i < values.count(); i++) {
            // A cast from double to long saturates itself, far outside of any type here.
            store(made, i, real ? (long) Math.rint(values.floats()[i]) : values.whole(i));
        }
        return new Tensor(type, made.data, values.shape, values.channelsFirst);
    }

    /** round(x / scale) + zeroPoint, half to even, saturated. */
    static Tensor quantize(Tensor values, float scale, int zeroPoint, Tensor.Type type) {
        checkFinite(values, "quantize");
        Tensor made = Tensor.zeros(type, values.shape);
        for (int i = 0; i < values.count(); i++) {
            float quotient = values.real(i) / scale;
            double steps = Math.max(-0x1p30, Math.min(0x1p30, Math.rint(quotient)));
            store(made, i, (long) steps + zeroPoint);
        }
        return new Tensor(type, made.data, values.shape, values.channelsFirst);
    }

    private static void store(Tensor into, int index, long value) {
        switch (into.type) {
            case UINT8:
                ((byte[]) into.data)[index] = (byte) Math.max(0, Math.min(255, value));
                return;
            case INT8:
                ((byte[]) into.data)[index] = (byte) Math.max(-128, Math.min(127, value));
                return;
            case INT16:
                ((short[]) into.data)[index] = (short) Math.max(-32768, Math.min(32767, value));
                return;
            default:
                throw new IllegalArgumentException("nothing is quantized to " + into.type);
        }
    }

    private static void checkFinite(Tensor values, String step) {
        if (values.type != Tensor.Type.FLOAT32) {
            return;
        }
        for (float value : values.floats()) {
            if (Float.isNaN(value) || Float.isInfinite(value)) {
                throw new IllegalArgumentException(step + ": a value is NaN or infinite");
            }
        }
    }

    /** What the runtime takes for an input: the batch in front, quantized where it must be. */
    static Tensor toInput(TensorSpec spec, Tensor given) {
        Tensor made = given;
        int[] shape = new int[given.shape.length + 1];
        shape[0] = 1;
        System.arraycopy(given.shape, 0, shape, 1, given.shape.length);
        if (!spec.takes(shape)) {
            throw new IllegalArgumentException(
                    "input '" + spec.getName() + "': that makes " + Tensor.sizes(given.shape)
                            + ", not " + spec.sizes() + " without the batch of 1 in front");
        }
        if (spec.isQuantized() && made.type != spec.getType()) {
            made = quantize(made, spec.scale[0], spec.zeroPoint[0], spec.getType());
        }
        if (made.type != spec.getType()) {
            throw new IllegalArgumentException(
                    "input '" + spec.getName() + "': that makes " + made.type + ", not "
                            + spec.getType());
        }
        return new Tensor(made.type, made.data, shape, false);
    }
}
