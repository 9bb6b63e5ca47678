"""What earlier runs remember of repositories. It saves reading, and authorises no deletion."""
