package edgekit.model;

import android.graphics.Bitmap;
import android.os.Build;

/** Pictures from Android's bitmaps. */
public final class Bitmaps {
    private Bitmaps() {}

    /** The pixels as they lie: nothing is scaled or turned. */
    public static Picture picture(Bitmap bitmap) {
        // The pixels of a hardware bitmap cannot be read.
        boolean hardware =
                Build.VERSION.SDK_INT >= 26 && bitmap.getConfig() == Bitmap.Config.HARDWARE;
        Bitmap readable = hardware ? bitmap.copy(Bitmap.Config.ARGB_8888, false) : bitmap;
        int width = readable.getWidth();
        int height = readable.getHeight();
        int[] pixels = new int[width * height];
        readable.getPixels(pixels, 0, width, 0, 0, width, height);
        if (hardware) {
            readable.recycle();
        }
        return Picture.ofArgb(pixels, width, height);
    }
}
