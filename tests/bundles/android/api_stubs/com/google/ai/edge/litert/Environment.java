package com.google.ai.edge.litert;

public final class Environment extends JniHandle {
    Environment() {}
}
