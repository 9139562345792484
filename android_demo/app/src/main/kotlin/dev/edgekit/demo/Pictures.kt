package dev.edgekit.demo

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Matrix
import android.media.ExifInterface
import edgekit.model.Picture
import java.io.File
import java.io.IOException

/** A picture upright, with all its pixels: the model's own steps make it smaller. */
class Upright(val bitmap: Bitmap, val picture: Picture, val subsampled: Boolean) {
    companion object {
        /** More take too much of a phone's Java memory: 7 bytes a pixel beside the bitmap. */
        private const val MOST_PIXELS = 16_000_000L

        /** Throws IOException where Android reads no picture in the file. */
        @Throws(IOException::class)
        fun read(file: File): Upright {
            val options = BitmapFactory.Options()
            options.inJustDecodeBounds = true
            BitmapFactory.decodeFile(file.path, options)
            val pixels = options.outWidth.toLong() * options.outHeight
            if (options.outWidth <= 0 || options.outHeight <= 0) throw IOException("no picture")
            options.inJustDecodeBounds = false
            options.inSampleSize = 1
            while (pixels / options.inSampleSize / options.inSampleSize > MOST_PIXELS) {
                options.inSampleSize *= 2
            }
            val lying = BitmapFactory.decodeFile(file.path, options)
                ?: throw IOException("no picture")
            val bitmap = turned(lying, file)
            val numbers = IntArray(bitmap.width * bitmap.height)
            bitmap.getPixels(numbers, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
            val picture = Picture.ofArgb(numbers, bitmap.width, bitmap.height)
            return Upright(bitmap, picture, options.inSampleSize > 1)
        }

        private fun turned(bitmap: Bitmap, file: File): Bitmap {
            val orientation = ExifInterface(file.path)
                .getAttributeInt(ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL)
            val matrix = Matrix()
            when (orientation) {
                ExifInterface.ORIENTATION_FLIP_HORIZONTAL -> matrix.setScale(-1f, 1f)
                ExifInterface.ORIENTATION_ROTATE_180 -> matrix.setRotate(180f)
                ExifInterface.ORIENTATION_FLIP_VERTICAL -> matrix.setScale(1f, -1f)
                ExifInterface.ORIENTATION_TRANSPOSE -> {
                    matrix.setRotate(90f)
                    matrix.postScale(-1f, 1f)
                }
                ExifInterface.ORIENTATION_ROTATE_90 -> matrix.setRotate(90f)
                ExifInterface.ORIENTATION_TRANSVERSE -> {
                    matrix.setRotate(-90f)
                    matrix.postScale(-1f, 1f)
                }
                ExifInterface.ORIENTATION_ROTATE_270 -> matrix.setRotate(-90f)
                else -> return bitmap
            }
            return Bitmap.createBitmap(bitmap, 0, 0, bitmap.width, bitmap.height, matrix, false)
        }
    }
}
