package dev.edgekit.demo

import android.app.Activity
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.ImageView
import android.widget.ProgressBar
import android.widget.TextView
import dev.edgekit.demo.core.Classifier
import dev.edgekit.demo.core.Engine
import dev.edgekit.demo.core.Failure
import edgekit.model.Label
import edgekit.model.Postprocessing
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.util.Locale

/** A picture or a photo, and the likeliest classes of it. */
class ClassifyActivity : Activity() {
    companion object {
        private const val PICTURE = 1
        private const val PHOTO = 2
        private const val SHOWN = 5
        private const val TAKEN = "photo.jpg"
        private const val CHOSEN = "picture.jpg"
    }

    private class Open(val engine: Engine, val classifier: Classifier)

    /** Of the background thread alone. */
    private var open: Open? = null

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.activity_classify)
        view<Button>(R.id.picture).setOnClickListener { ask("picture") }
        view<Button>(R.id.photo).setOnClickListener { ask("photo") }
        if (state == null) ask(intent.getStringExtra("how") ?: "picture")
    }

    override fun onDestroy() {
        super.onDestroy()
        Background.run {
            open?.engine?.close()
            open = null
        }
    }

    private fun ask(how: String) {
        if (how == "photo") Sending.photograph(this, PHOTO, TAKEN)
        else Sending.pick(this, PICTURE, "image/*")
    }

    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        super.onActivityResult(request, result, data)
        if (result != RESULT_OK) return
        if (request == PHOTO) classify(null)
        if (request == PICTURE) data?.data?.let { classify(it) }
    }

    private fun say(text: String) {
        view<TextView>(R.id.message).text = text
    }

    private fun classify(from: Uri?) {
        say(getString(R.string.classifying))
        Background.run {
            try {
                // In a file of ours: EXIF data are read from files on all versions of Android.
                val file = SharedFiles.file(this, if (from == null) TAKEN else CHOSEN)
                if (from != null) copy(from, file)
                val upright = Upright.read(file)
                val ready = open ?: opened()
                val labels = ready.classifier.classify(upright.picture, SHOWN)
                val words = getString(
                    R.string.classified,
                    ready.engine.applied(),
                    ms(ready.classifier.prepareNs),
                    ms(ready.classifier.runNs),
                )
                Background.show { show(upright, labels, words) }
            } catch (e: Failure) {
                Background.show { say(listOf(e.message, e.hint).joinToString(". ")) }
            } catch (e: IOException) {
                Background.show { say(getString(R.string.picture_unreadable)) }
            } catch (e: OutOfMemoryError) {
                Background.show { say(getString(R.string.picture_too_large)) }
            }
        }
    }

    private fun copy(from: Uri, to: File) {
        val stream = contentResolver.openInputStream(from) ?: throw IOException("not given")
        stream.use { given -> FileOutputStream(to).use { given.copyTo(it) } }
    }

    private fun opened(): Open {
        val bundle = Bundles(applicationContext).open(intent.getStringExtra("bundle") ?: "")
        val variant = bundle.variant(intent.getStringExtra("variant") ?: "")
            ?: throw Failure.refused("the bundle has no such variant")
        val runtime = Runtimes.of(variant.kind())
        runtime.load()
        val accelerator = intent.getStringExtra("accelerator") ?: "cpu"
        val engine = try {
            runtime.open(variant.file.path, variant.describe(), 2, accelerator)
        } catch (e: Failure) {
            throw e
        } catch (e: Exception) {
            throw Failure.refusedBy(e)
        }
        return Open(engine, Classifier(variant, engine)).also { open = it }
    }

    private fun ms(ns: Long): String = String.format(Locale.getDefault(), "%.1f", ns / 1e6)

    private fun show(upright: Upright, labels: List<Label>, words: String) {
        val image = view<ImageView>(R.id.shown)
        image.setImageBitmap(small(upright))
        image.contentDescription = getString(R.string.picture_described)
        say(if (upright.subsampled) "$words\n${getString(R.string.subsampled)}" else words)
        val list = view<ViewGroup>(R.id.classes)
        list.removeAllViews()
        list.visibility = View.VISIBLE
        val lengths = lengths(labels)
        for ((place, label) in labels.withIndex()) {
            val item = layoutInflater.inflate(R.layout.item_class, list, false)
            val name = if (label.name.isEmpty()) "#${label.index}" else label.name
            val score = String.format(Locale.getDefault(), "%.3f", label.score)
            item.part<TextView>(R.id.name).text = name
            item.part<TextView>(R.id.value).text = score
            item.part<ProgressBar>(R.id.bar).progress = (1000 * lengths[place]).toInt()
            item.contentDescription = getString(R.string.class_item, name, score)
            list.addView(item)
        }
    }

    /** Bitmaps of cameras are larger than what a screen's canvas draws. */
    private fun small(upright: Upright): android.graphics.Bitmap {
        val bitmap = upright.bitmap
        val by = maxOf(1, maxOf(bitmap.width, bitmap.height) / 1024)
        return android.graphics.Bitmap.createScaledBitmap(
            bitmap, maxOf(1, bitmap.width / by), maxOf(1, bitmap.height / by), true
        )
    }

    /** Of the bars only: scores that are no probabilities are compared among those shown. */
    private fun lengths(labels: List<Label>): FloatArray {
        val scores = FloatArray(labels.size) { labels[it].score }
        val probable = scores.all { it in 0f..1f }
        return if (probable) scores else Postprocessing.softmax(scores)
    }
}
