export const metadata = { title: 'A story, in Next.js' };

export default function Layout({ children }) {
    return (
        <html lang="en">
            <body>{children}</body>
        </html>
    );
}
