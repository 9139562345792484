package dev.edgekit.demo

import android.app.Activity
import android.os.Bundle
import android.view.WindowManager
import android.widget.TextView
import dev.edgekit.demo.core.Benchmark
import dev.edgekit.demo.core.Failure
import dev.edgekit.demo.core.Lines
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.FileInputStream
import java.io.FileOutputStream
import java.io.IOException

/**
 * Measures for `edgekit profile --on adb:SERIAL --runner app`.
 *
 *     am start -W -S -n dev.edgekit.demo/.BenchmarkActivity --es job JOB.json --es run NAME
 *
 * The lines go to `/sdcard/Android/media/dev.edgekit.demo/runs/NAME.jsonl`, which adb's shell can
 * read on every Android, each as soon as it is there; the last one is "done" or "error".
 */
class BenchmarkActivity : Activity() {
    companion object {
        private const val MOST_JOB_BYTES = 1 shl 20
        private val started = System.nanoTime()
    }

    @Suppress("DEPRECATION") // what came later is not there before API 27
    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        window.addFlags(
            WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON or
                WindowManager.LayoutParams.FLAG_SHOW_WHEN_LOCKED or
                WindowManager.LayoutParams.FLAG_TURN_SCREEN_ON
        )
        setContentView(R.layout.activity_benchmark)
        val job = intent.getStringExtra("job") ?: ""
        val run = intent.getStringExtra("run") ?: ""
        if (state != null) return // the same launch, drawn anew
        if (!run.matches(Regex("[A-Za-z0-9-]{1,100}")) || job.isEmpty()) {
            return say(getString(R.string.bench_failed, "--es job FILE --es run NAME"))
        }
        say(getString(R.string.bench_running))
        Background.run { measure(File(job), run) }
    }

    private fun say(text: String) {
        view<TextView>(R.id.message).text = text
    }

    @Suppress("DEPRECATION") // the folder that adb's shell may read, unlike what came after it
    private fun measure(job: File, run: String) {
        try {
            val media = externalMediaDirs.firstOrNull() ?: throw IOException("there is no storage")
            val runs = File(media, "runs")
            val outputs = File(runs, run)
            if (!outputs.isDirectory && !outputs.mkdirs()) throw IOException("cannot make $outputs")
            FileOutputStream(File(runs, "$run.jsonl")).use { out ->
                val lines = object : Lines {
                    override fun line(text: String) {
                        // One write a line, to the file itself: who follows it sees whole lines.
                        out.write((text + "\n").toByteArray())
                        Background.show { shown(text) }
                    }
                }
                val benchmark = Benchmark(Runtimes.ALL, Phone.machine(), lines, "cpu")
                val status = try {
                    benchmark.run(read(job), started) {
                        android.os.Process.killProcess(android.os.Process.myPid())
                    }
                } catch (e: Failure) {
                    benchmark.failed(e)
                }
                Background.show { say(getString(R.string.bench_done, status)) }
            }
        } catch (e: IOException) {
            Background.show { say(getString(R.string.bench_failed, e.message)) }
        }
    }

    private fun read(job: File): ByteArray {
        val made = ByteArrayOutputStream()
        val piece = ByteArray(1 shl 14)
        try {
            FileInputStream(job).use { given ->
                var got = given.read(piece)
                while (got >= 0 && made.size() <= MOST_JOB_BYTES) {
                    made.write(piece, 0, got)
                    got = given.read(piece)
                }
            }
        } catch (e: IOException) {
            throw Failure(Failure.BAD_JOB, "bad_job", "cannot read the job: ${e.message}")
        }
        if (made.size() > MOST_JOB_BYTES) {
            throw Failure(Failure.BAD_JOB, "bad_job", "the job is larger than $MOST_JOB_BYTES bytes")
        }
        return made.toByteArray()
    }

    private fun shown(line: String) {
        val view = view<TextView>(R.id.lines)
        view.append(if (line.length > 300) line.substring(0, 300) + "…\n" else line + "\n")
    }
}
