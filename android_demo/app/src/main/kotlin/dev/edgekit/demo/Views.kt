package dev.edgekit.demo

import android.app.Activity
import android.view.View

// findViewById has a type parameter from API 26 on only; these compile against any.

@Suppress("UNCHECKED_CAST")
fun <T : View> Activity.view(id: Int): T {
    val found: View = findViewById(id)
    return found as T
}

@Suppress("UNCHECKED_CAST")
fun <T : View> View.part(id: Int): T {
    val found: View = findViewById(id)
    return found as T
}
