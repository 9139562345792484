package dev.edgekit.demo

import android.content.Context
import dev.edgekit.demo.core.Archive
import dev.edgekit.demo.core.Bundle
import dev.edgekit.demo.core.BundleException
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.InputStream

/** The bundles that were opened: each in a folder named after its manifest's digest. */
class Bundles(private val context: Context) {
    /** Not where backups go: models are large, and the bundle is on the computer. */
    private val folder = File(context.noBackupFilesDir, "bundles")

    /** Each folder in the app's assets/bundles/ is copied out once: runtimes open files. */
    @Throws(IOException::class)
    fun addShipped() {
        for (name in context.assets.list("bundles") ?: emptyArray()) {
            val marker = File(folder, ".shipped-$name")
            if (marker.exists()) continue
            keep { copy("bundles/$name", it) }
            marker.createNewFile()
        }
    }

    private fun copy(asset: String, to: File) {
        val inside = context.assets.list(asset) ?: emptyArray()
        if (inside.isEmpty()) {
            context.assets.open(asset).use { given ->
                FileOutputStream(to).use { given.copyTo(it) }
            }
            return
        }
        to.mkdirs()
        for (name in inside) copy("$asset/$name", File(to, name))
    }

    /** Checks every file again. Damaged ones are left out, and said by [problem]. */
    fun all(problem: (String) -> Unit): List<Bundle> {
        val found = ArrayList<Bundle>()
        for (each in folder.listFiles() ?: emptyArray()) {
            if (!each.isDirectory || each.name.startsWith(".")) continue
            try {
                found.add(Bundle.open(each))
            } catch (e: IOException) {
                problem("${each.name.take(12)}: ${e.message}")
            }
        }
        found.sortBy { it.name + it.version }
        return found
    }

    @Throws(IOException::class)
    fun open(digest: String): Bundle = Bundle.open(File(folder, digest))

    /** Unpacks an archive and checks it; nothing of it stays where anything is wrong. */
    @Throws(IOException::class)
    fun add(archive: InputStream): Bundle = keep { Archive.unpack(archive, it) }

    private fun keep(fill: (File) -> Unit): Bundle {
        val scratch = File(folder, ".new")
        scratch.deleteRecursively()
        if (!scratch.mkdirs()) throw BundleException("there is no room for it")
        try {
            fill(scratch)
            val bundle = Bundle.open(scratch)
            val target = File(folder, bundle.digest)
            target.deleteRecursively()
            if (!scratch.renameTo(target)) throw BundleException("it cannot be kept")
            return Bundle.open(target)
        } finally {
            scratch.deleteRecursively()
        }
    }

    fun remove(digest: String) {
        File(folder, digest).deleteRecursively()
    }
}
