package dev.edgekit.demo

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.OpenableColumns
import java.io.File
import java.io.FileNotFoundException

/** Lends single files of cache/shared to the app that an intent is sent to, and nothing else. */
class SharedFiles : ContentProvider() {
    companion object {
        fun file(context: Context, name: String): File {
            val folder = File(context.cacheDir, "shared")
            folder.mkdirs()
            return File(folder, name)
        }

        fun uri(name: String): Uri = Uri.parse("content://dev.edgekit.demo.shared/$name")
    }

    private fun asked(uri: Uri): File {
        val name = uri.lastPathSegment ?: ""
        if (uri.pathSegments.size != 1 || !name.matches(Regex("[a-z-]+\\.(jpg|jsonl)"))) {
            throw FileNotFoundException(uri.toString())
        }
        return file(checkNotNull(context), name)
    }

    override fun onCreate(): Boolean = true

    override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor =
        ParcelFileDescriptor.open(asked(uri), ParcelFileDescriptor.parseMode(mode))

    override fun getType(uri: Uri): String =
        if (asked(uri).name.endsWith(".jpg")) "image/jpeg" else "application/json"

    override fun query(
        uri: Uri,
        projection: Array<String>?,
        selection: String?,
        selectionArgs: Array<String>?,
        sortOrder: String?,
    ): Cursor {
        val file = asked(uri)
        val columns = arrayOf(OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE)
        val cursor = MatrixCursor(columns)
        cursor.addRow(arrayOf<Any>(file.name, file.length()))
        return cursor
    }

    override fun insert(uri: Uri, values: ContentValues?): Uri? = null

    override fun update(
        uri: Uri,
        values: ContentValues?,
        selection: String?,
        selectionArgs: Array<String>?,
    ): Int = 0

    override fun delete(uri: Uri, selection: String?, selectionArgs: Array<String>?): Int = 0
}
