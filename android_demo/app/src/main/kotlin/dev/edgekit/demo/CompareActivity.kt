package dev.edgekit.demo

import android.app.Activity
import android.os.Bundle
import android.view.View
import android.view.ViewGroup
import android.view.WindowManager
import android.widget.Button
import android.widget.ProgressBar
import android.widget.TextView
import dev.edgekit.demo.core.Benchmark
import dev.edgekit.demo.core.ModelKind
import dev.edgekit.demo.core.Result
import dev.edgekit.demo.core.Variant
import java.io.FileOutputStream
import java.io.IOException
import java.util.Locale

/** Variants and accelerators of a bundle, measured one after another on this phone. */
class CompareActivity : Activity() {
    companion object {
        private const val FILE = "edgekit-results.jsonl"
        private const val WARMUP_RUNS = 10
        private const val RUNS = 50
        private const val SECONDS = 2.0
    }

    private class Row(val name: String, val result: Result)

    private val rows = ArrayList<Row>()
    private var threads = 2

    @Volatile private var asked = false

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.activity_compare)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        view<Button>(R.id.fewer).setOnClickListener { change(-1) }
        view<Button>(R.id.more).setOnClickListener { change(1) }
        view<Button>(R.id.start).setOnClickListener { if (asked) stop() else start() }
        view<Button>(R.id.share).setOnClickListener { share() }
        change(0)
    }

    override fun onDestroy() {
        super.onDestroy()
        asked = false
    }

    private fun change(by: Int) {
        threads = (threads + by).coerceIn(1, java.lang.Runtime.getRuntime().availableProcessors())
        view<TextView>(R.id.threads).text = getString(R.string.threads, threads)
    }

    private fun say(text: String) {
        view<TextView>(R.id.message).text = text
    }

    private fun stop() {
        asked = false
    }

    private fun start() {
        asked = true
        rows.clear()
        view<Button>(R.id.start).setText(R.string.stop)
        val threads = threads
        val bundles = Bundles(applicationContext)
        Background.run {
            try {
                val bundle = bundles.open(intent.getStringExtra("bundle") ?: "")
                for ((variant, accelerator) in wanted(bundle)) {
                    if (!asked) break
                    val name = if (accelerator == null) variant.name
                    else "${variant.name}, ${accelerator.uppercase(Locale.ROOT)}"
                    Background.show { say(getString(R.string.measuring, name)) }
                    val result = measured(variant, accelerator ?: "cpu", threads)
                    Background.show {
                        rows.add(Row(name, result))
                        show()
                    }
                }
                Background.show { ended("") }
            } catch (e: IOException) {
                Background.show { ended(getString(R.string.not_opened, e.message)) }
            }
        }
    }

    private fun ended(said: String) {
        asked = false
        say(said)
        view<Button>(R.id.start).setText(R.string.start)
    }

    /** Each variant with each accelerator; a .pte has its own (null). */
    private fun wanted(bundle: dev.edgekit.demo.core.Bundle): List<Pair<Variant, String?>> {
        val found = ArrayList<Pair<Variant, String?>>()
        val only = intent.getStringExtra("variant")
        for (variant in bundle.variants) {
            if (!variant.runs() || (only != null && only != variant.name)) continue
            val tflite = variant.kind() == ModelKind.TFLITE
            val one = intent.getStringExtra("accelerator")
            when {
                !tflite -> found.add(variant to null)
                one != null -> found.add(variant to one)
                else -> for (each in listOf("cpu", "gpu", "npu")) found.add(variant to each)
            }
        }
        return found
    }

    private fun measured(variant: Variant, accelerator: String, threads: Int): Result {
        val result = Result()
        val job = variant.job(threads, WARMUP_RUNS, RUNS, SECONDS)
        Benchmark(Runtimes.ALL, Phone.machine(), result, accelerator)
            .run(job, System.nanoTime()) {
                // The runtime hangs in native code: nothing but the process's end stops it.
                android.os.Process.killProcess(android.os.Process.myPid())
            }
        return result
    }

    private fun show() {
        val list = view<ViewGroup>(R.id.results)
        list.removeAllViews()
        list.visibility = View.VISIBLE
        view<View>(R.id.share).visibility = View.VISIBLE
        val slowest = rows.filter { it.result.count() > 0 }
            .maxOfOrNull { it.result.percentile(50.0) } ?: 1.0
        for (row in rows) {
            val item = layoutInflater.inflate(R.layout.item_class, list, false)
            val more = item.part<TextView>(R.id.more)
            val bar = item.part<ProgressBar>(R.id.bar)
            item.part<TextView>(R.id.name).text = row.name
            more.visibility = View.VISIBLE
            more.text = words(row)
            if (row.result.count() > 0) {
                val median = row.result.percentile(50.0)
                item.part<TextView>(R.id.value).text =
                    getString(R.string.row_median, ms(median))
                bar.progress = (1000 * median / slowest).toInt()
                item.contentDescription =
                    getString(R.string.row_described, row.name, ms(median)) + ". " + words(row)
            } else {
                bar.visibility = View.GONE
            }
            list.addView(item)
        }
    }

    private fun words(row: Row): String {
        val result = row.result
        if (result.count() == 0) return getString(R.string.row_refused, result.error() ?: "?")
        val memory = if (result.peakBytes() < 0) ""
        else getString(R.string.row_memory, (result.peakBytes() / 1_000_000).toString())
        val said = getString(
            R.string.row_more,
            ms(result.percentile(90.0)),
            ms(result.firstNs.toDouble()),
            ms(result.loadNs.toDouble()),
            result.count(),
            memory,
        )
        val spread = (100 * result.spread()).toInt()
        return if (spread < 10) said else "$said\n${getString(R.string.row_unstable, spread)}"
    }

    private fun ms(ns: Double): String =
        String.format(Locale.getDefault(), if (ns < 1e7) "%.3f" else "%.1f", ns / 1e6)

    private fun share() {
        FileOutputStream(SharedFiles.file(this, FILE)).bufferedWriter().use { out ->
            for (row in rows) for (line in row.result.lines()) out.write(line + "\n")
        }
        val text = StringBuilder()
        for (row in rows) {
            val median = if (row.result.count() == 0) "" else
                " " + getString(R.string.row_median, ms(row.result.percentile(50.0)))
            text.append("${row.name}$median\n${words(row)}\n")
        }
        text.append("${android.os.Build.MANUFACTURER} ${android.os.Build.MODEL}, ")
        text.append(getString(R.string.threads, threads))
        Sending.share(this, getString(R.string.compare_title), text.toString(), FILE)
    }
}
