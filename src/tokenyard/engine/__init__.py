"""Our model server: a process of its own that speaks the OpenAI API over HTTP."""
