import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The gateway, or `npm run mock`; only the development server asks it.
const server = "http://127.0.0.1:8400";

export default defineConfig({
  plugins: [react(), tailwindcss()],
  build: {
    outDir: "../src/tokenyard/_web",
    emptyOutDir: true,
    // The content policy allows no data: addresses, so nothing is inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  server: {
    // A test reads the list of reasons that is made from the server's code.
    fs: { allow: [".", "../docs/reference"] },
    proxy: { "/api": server, "/v1": server, "/sign-in": server },
  },
  test: {
    environment: "jsdom",
    include: ["tests/**/*.test.{ts,tsx}"],
    restoreMocks: true,
  },
});
