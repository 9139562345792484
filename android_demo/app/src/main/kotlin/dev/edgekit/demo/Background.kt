package dev.edgekit.demo

import android.os.Handler
import android.os.Looper
import java.util.concurrent.Executors

/** One thread for all that takes time: what is measured then runs alone in this app. */
object Background {
    private val worker = Executors.newSingleThreadExecutor()
    private val main = Handler(Looper.getMainLooper())

    fun run(work: () -> Unit) {
        worker.execute { work() }
    }

    fun show(work: () -> Unit) {
        main.post { work() }
    }
}
