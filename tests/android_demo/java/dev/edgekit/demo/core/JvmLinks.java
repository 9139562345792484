package dev.edgekit.demo.core;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Paths;

/** Links as a desktop's JVM reads them. */
final class JvmLinks implements Drivers.Links {
    @Override
    public String target(String path) throws IOException {
        return Files.readSymbolicLink(Paths.get(path)).toString();
    }
}
