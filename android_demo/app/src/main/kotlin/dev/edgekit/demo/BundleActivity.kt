package dev.edgekit.demo

import android.app.Activity
import android.app.AlertDialog
import android.content.Intent
import android.os.Bundle
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.RadioButton
import android.widget.RadioGroup
import android.widget.TextView
import dev.edgekit.demo.core.ModelKind
import dev.edgekit.demo.core.Variant
import java.io.IOException
import java.util.Locale

/** A bundle's card: what it is, from where, whether it is what was made; and what to do with it. */
class BundleActivity : Activity() {
    private lateinit var bundle: dev.edgekit.demo.core.Bundle
    private lateinit var variant: Variant
    private var accelerator = "cpu"

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.activity_bundle)
        val digest = intent.getStringExtra("bundle") ?: return finish()
        val bundles = Bundles(applicationContext)
        Background.run {
            try {
                val opened = bundles.open(digest)
                Background.show { show(opened) }
            } catch (e: IOException) {
                Background.show {
                    view<TextView>(R.id.name).text = getString(R.string.not_opened, e.message)
                    view<TextView>(R.id.verified).visibility = View.GONE
                }
            }
        }
    }

    private fun show(opened: dev.edgekit.demo.core.Bundle) {
        bundle = opened
        variant = checkNotNull(bundle.variant(bundle.standard))
        view<TextView>(R.id.name).text = "${bundle.name} ${bundle.version}"
        view<TextView>(R.id.description).text = bundle.description
        val signed = view<TextView>(R.id.signed)
        signed.setText(if (bundle.signed) R.string.signed else R.string.unsigned)
        if (!bundle.signed) signed.setTextColor(getColor(R.color.caution))
        val rows = view<ViewGroup>(R.id.rows)
        for ((name, value) in card()) {
            val row = TextView(this)
            row.setTextColor(getColor(R.color.text_quiet))
            row.textSize = 14f
            row.setPadding(0, dp(3), 0, dp(3))
            row.text = "$name: $value"
            rows.addView(row)
        }
        if (bundle.notices.isNotEmpty()) {
            view<View>(R.id.notices_card).visibility = View.VISIBLE
            view<TextView>(R.id.notices).text = bundle.notices.joinToString("\n")
        }
        choices()
        view<Button>(R.id.picture).setOnClickListener { classify("picture") }
        view<Button>(R.id.photo).setOnClickListener { classify("photo") }
        view<Button>(R.id.measure).setOnClickListener { measure(true) }
        view<Button>(R.id.compare).setOnClickListener { measure(false) }
        view<Button>(R.id.share).setOnClickListener { share() }
        view<Button>(R.id.remove).setOnClickListener { remove() }
    }

    private fun dp(size: Int): Int = (size * resources.displayMetrics.density).toInt()

    private fun card(): List<Pair<String, String>> {
        fun said(text: String) = if (text.isEmpty()) getString(R.string.not_said) else text
        return listOf(
            getString(R.string.made_from) to bundle.source,
            getString(R.string.made_for) to bundle.profile,
            getString(R.string.made_by) to bundle.madeBy,
            getString(R.string.created) to bundle.created,
            getString(R.string.licence) to said(bundle.licence),
            getString(R.string.maintainer) to said(bundle.maintainer),
            getString(R.string.digest) to "SHA-256 ${bundle.digest.substring(0, 16)}…",
        )
    }

    private fun line(each: Variant): String {
        if (!each.runs()) return getString(R.string.variant_refused, each.name, each.refusal)
        val quality = if (each.quality.isEmpty()) getString(R.string.not_scored) else each.quality
        val size = String.format(Locale.getDefault(), "%.1f MB", each.sizeBytes / 1e6)
        return getString(R.string.variant_line, each.name, each.delegate, size, quality)
    }

    private fun choices() {
        val group = view<RadioGroup>(R.id.variants)
        for (each in bundle.variants) {
            val button = choice(group, line(each))
            button.isEnabled = each.runs()
            button.setOnClickListener { choose(each) }
            if (each === variant) group.check(button.id)
        }
        choose(variant)
    }

    private fun choice(group: RadioGroup, text: String): RadioButton {
        val button = RadioButton(this)
        button.id = View.generateViewId()
        button.text = text
        button.textSize = 16f
        button.minHeight = dp(48)
        group.addView(button)
        return button
    }

    private fun choose(chosen: Variant) {
        variant = chosen
        val group = view<RadioGroup>(R.id.accelerators)
        group.removeAllViews()
        accelerator = "cpu"
        if (chosen.kind() == ModelKind.TFLITE) {
            val offered = listOf(
                "cpu" to R.string.accelerator_cpu,
                "gpu" to R.string.accelerator_gpu,
                "npu" to R.string.accelerator_npu,
            )
            for ((key, text) in offered) {
                val button = choice(group, getString(text))
                button.setOnClickListener { accelerator = key }
                if (key == accelerator) group.check(button.id)
            }
        } else {
            group.check(choice(group, getString(R.string.as_made)).id)
        }
        view<View>(R.id.picture).isEnabled = chosen.classifies()
        view<View>(R.id.photo).isEnabled = chosen.classifies()
        view<View>(R.id.measure).isEnabled = chosen.runs()
        view<View>(R.id.compare).isEnabled = bundle.variants.any { it.runs() }
    }

    private fun classify(how: String) {
        val next = Intent(this, ClassifyActivity::class.java)
        next.putExtra("bundle", bundle.digest).putExtra("variant", variant.name)
        startActivity(next.putExtra("accelerator", accelerator).putExtra("how", how))
    }

    private fun measure(alone: Boolean) {
        val next = Intent(this, CompareActivity::class.java).putExtra("bundle", bundle.digest)
        if (alone) next.putExtra("variant", variant.name).putExtra("accelerator", accelerator)
        startActivity(next)
    }

    private fun share() {
        val lines = ArrayList<String>()
        lines.add("${bundle.name} ${bundle.version}")
        lines.add(getString(R.string.verified))
        lines.add(getString(if (bundle.signed) R.string.signed else R.string.unsigned))
        for ((name, value) in card()) lines.add("$name: $value")
        for (each in bundle.variants) lines.add("- ${line(each)}")
        lines.add("manifest ${bundle.digest}")
        Sending.share(this, bundle.name, lines.joinToString("\n"), null)
    }

    private fun remove() {
        AlertDialog.Builder(this)
            .setMessage(getString(R.string.remove_sure, bundle.name))
            .setNegativeButton(R.string.cancel, null)
            .setPositiveButton(R.string.remove) { _, _ ->
                Bundles(applicationContext).remove(bundle.digest)
                finish()
            }
            .show()
    }
}
