"""What a contact centre is, pure: no asyncio, no clock, no logging. Event and now in, commands out."""
