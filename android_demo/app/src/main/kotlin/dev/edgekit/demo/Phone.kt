package dev.edgekit.demo

import android.os.Build
import dev.edgekit.demo.core.Machine

/** What only Android knows of the device, by the keys of the protocol's "hello". */
object Phone {
    fun machine(): Machine = Machine(known())

    private fun known(): Map<String, Any?> {
        val found = HashMap<String, Any?>()
        found["board"] = "${Build.MANUFACTURER} ${Build.MODEL}"
        found["libc"] = "bionic of Android ${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT})"
        if (Build.HARDWARE == "ranchu" || Build.HARDWARE == "goldfish") {
            found["emulated"] = "this is Android's emulator"
        }
        return found
    }
}
