// Builds the bench page as the real one is built, into a folder of its own.
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  root: new URL(".", import.meta.url).pathname,
  plugins: [react(), tailwindcss()],
  build: {
    outDir: "../../.make/web-bench",
    emptyOutDir: true,
    target: "es2022",
    rollupOptions: { input: new URL("bench.html", import.meta.url).pathname },
  },
});
