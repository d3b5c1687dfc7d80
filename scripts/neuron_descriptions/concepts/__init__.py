"""Rules of text that say exactly where something fires."""
