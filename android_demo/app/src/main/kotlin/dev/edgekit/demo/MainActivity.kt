package dev.edgekit.demo

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.TextView
import java.io.IOException

/** The bundles on this phone, and the way to open another. */
class MainActivity : Activity() {
    companion object {
        private const val OPEN = 1
    }

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.activity_main)
        view<Button>(R.id.open).setOnClickListener { Sending.pick(this, OPEN, "*/*") }
    }

    override fun onResume() {
        super.onResume()
        list()
    }

    private fun list() {
        val bundles = Bundles(applicationContext)
        Background.run {
            val problems = ArrayList<String>()
            try {
                bundles.addShipped()
            } catch (e: IOException) {
                problems.add(getString(R.string.not_opened, e.message))
            }
            val found = bundles.all { problems.add(it) }
            Background.show { show(found, problems) }
        }
    }

    private fun show(found: List<dev.edgekit.demo.core.Bundle>, problems: List<String>) {
        view<View>(R.id.empty).visibility = if (found.isEmpty()) View.VISIBLE else View.GONE
        if (problems.isNotEmpty()) say(problems.joinToString("\n"))
        val list = view<ViewGroup>(R.id.bundles)
        list.removeAllViews()
        for (bundle in found) {
            val item = layoutInflater.inflate(R.layout.item_bundle, list, false)
            item.part<TextView>(R.id.name).text = "${bundle.name} ${bundle.version}"
            item.part<TextView>(R.id.more).text =
                getString(R.string.bundle_line, bundle.variants.size, bundle.profile)
            item.contentDescription = getString(R.string.bundle_item, bundle.name, bundle.version)
            item.setOnClickListener { open(bundle.digest) }
            list.addView(item)
        }
    }

    private fun say(text: String) {
        val message = view<TextView>(R.id.message)
        message.text = text
        message.visibility = if (text.isEmpty()) View.GONE else View.VISIBLE
    }

    private fun open(digest: String) {
        startActivity(Intent(this, BundleActivity::class.java).putExtra("bundle", digest))
    }

    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        super.onActivityResult(request, result, data)
        val uri = data?.data
        if (request != OPEN || result != RESULT_OK || uri == null) return
        say(getString(R.string.reading))
        val bundles = Bundles(applicationContext)
        Background.run {
            try {
                val stream = contentResolver.openInputStream(uri)
                    ?: throw IOException("its app does not give it")
                val bundle = stream.use { bundles.add(it) }
                Background.show {
                    say("")
                    open(bundle.digest)
                }
            } catch (e: IOException) {
                Background.show { say(getString(R.string.not_opened, e.message)) }
            } catch (e: SecurityException) {
                Background.show { say(getString(R.string.not_opened, e.message)) }
            }
        }
    }
}
