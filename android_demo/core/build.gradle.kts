// Plain Java without Android's classes, so that it is tested on any JVM.
plugins {
    `java-library`
}

java {
    sourceCompatibility = JavaVersion.VERSION_1_8
    targetCompatibility = JavaVersion.VERSION_1_8
}

sourceSets {
    main {
        java {
            // What edgekit puts into bundles for Android apps; the engines there are for one model.
            srcDir("../../edgekit/bundles/android/java")
            exclude(
                "Accelerator.java", "Bitmaps.java", "Engine.java", "ExecuTorchEngine.java",
                "LiteRtEngine.java", "ModelFile.java", "ModelOptions.java", "Phone.java", "Report.java",
            )
        }
    }
}
