/* built from frontend/ */
