"""Payments as the terminal shows them: lines, screens, wording, QR codes. Shared by the commands."""
