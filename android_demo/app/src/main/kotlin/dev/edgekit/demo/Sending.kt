package dev.edgekit.demo

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.ClipData
import android.content.Intent
import android.widget.Toast

/** Intents to other apps; where there is none for it, a word says so. */
object Sending {
    fun share(from: Activity, subject: String, text: String, file: String?) {
        val send = Intent(Intent.ACTION_SEND)
        send.putExtra(Intent.EXTRA_SUBJECT, subject)
        send.putExtra(Intent.EXTRA_TEXT, text)
        send.type = "text/plain"
        if (file != null) {
            send.type = "application/json"
            send.putExtra(Intent.EXTRA_STREAM, SharedFiles.uri(file))
            send.clipData = ClipData.newRawUri(file, SharedFiles.uri(file))
            send.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION)
        }
        start(from, R.string.no_sharing) { from.startActivity(Intent.createChooser(send, subject)) }
    }

    fun pick(from: Activity, request: Int, type: String) {
        val open = Intent(Intent.ACTION_OPEN_DOCUMENT)
        open.addCategory(Intent.CATEGORY_OPENABLE)
        open.type = type
        start(from, R.string.no_picker) { from.startActivityForResult(open, request) }
    }

    /** The camera app writes into a file of ours, so this app needs no permission. */
    fun photograph(from: Activity, request: Int, name: String) {
        SharedFiles.file(from, name).delete()
        val take = Intent("android.media.action.IMAGE_CAPTURE")
        take.putExtra("output", SharedFiles.uri(name))
        take.clipData = ClipData.newRawUri(name, SharedFiles.uri(name))
        take.addFlags(
            Intent.FLAG_GRANT_READ_URI_PERMISSION or Intent.FLAG_GRANT_WRITE_URI_PERMISSION
        )
        start(from, R.string.no_camera) { from.startActivityForResult(take, request) }
    }

    private fun start(from: Activity, otherwise: Int, action: () -> Unit) {
        try {
            action()
        } catch (e: ActivityNotFoundException) {
            Toast.makeText(from, otherwise, Toast.LENGTH_LONG).show()
        }
    }
}
