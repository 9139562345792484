package dev.edgekit.demo

import android.os.Build
import android.system.ErrnoException
import android.system.Os
import dev.edgekit.demo.core.Drivers
import dev.edgekit.demo.core.Machine
import java.io.IOException

/** What only Android knows of the device, by the keys of the protocol's "hello". */
object Phone {
    fun machine(): Machine = Machine(known(), Drivers.Links { path ->
        try {
            Os.readlink(path)
        } catch (e: ErrnoException) {
            throw IOException(e)
        }
    })

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
