package edgekit.model;

/**
 * A picture as the model's preprocessing takes it: RGB, 8 bits a channel, rows from the top.
 *
 * <p>No Android class is in here, so it can be tested on any JVM. {@link Bitmaps} makes one of a
 * Bitmap. A picture is taken as it lies: turn it upright first if its EXIF data say so.
 */
public final class Picture {
    private final byte[] rgb;
    private final int width;
    private final int height;

    private Picture(byte[] rgb, int width, int height) {
        this.rgb = rgb;
        this.width = width;
        this.height = height;
    }

    /** Of pixels 0xAARRGGBB, as Bitmap.getPixels gives them; how opaque they are is left out. */
    public static Picture ofArgb(int[] pixels, int width, int height) {
        check(pixels.length, 1, width, height);
        byte[] rgb = new byte[3 * pixels.length];
        for (int i = 0, at = 0; i < pixels.length; i++) {
            int pixel = pixels[i];
            rgb[at++] = (byte) (pixel >> 16);
            rgb[at++] = (byte) (pixel >> 8);
            rgb[at++] = (byte) pixel;
        }
        return new Picture(rgb, width, height);
    }

    /** Of bytes red, green, blue, red, and so on; the array is kept, not copied. */
    public static Picture ofRgb(byte[] rgb, int width, int height) {
        check(rgb.length, 3, width, height);
        return new Picture(rgb, width, height);
    }

    private static void check(int length, int each, int width, int height) {
        if (width < 1 || height < 1 || (long) width * height * each != length) {
            throw new IllegalArgumentException(
                    length + " values are not " + width + " by " + height + " pixels");
        }
    }

    public int getWidth() {
        return width;
    }

    public int getHeight() {
        return height;
    }

    /** UINT8, height x width x 3. */
    public Tensor tensor() {
        return Tensor.ofUint8(rgb, height, width, 3);
    }
}
